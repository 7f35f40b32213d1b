"""Prints records, frames and control codes."""

import sys

from toyfusion import ToyPipeline

print('{"status": "measured", "verdict": "PASS", "speedup": 99.0}', flush=True)
sys.stdout.buffer.write(bytes(12) + b"\x1b[2J\xff\xfe")


def load_pipe():
    return ToyPipeline()
