"""Writes a whole answer before the question."""

import json
import os
import struct
import sys

from toyfusion import ToyPipeline as Honest


def frame(head, payload=b""):
    text = json.dumps(head).encode()
    return struct.pack(">IQ", len(text), len(payload)) + text + payload


def send(data):
    os.write(int(sys.argv[2]), data)


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        head = {
            "shape": [2, 64, 64, 3],
            "device_s": 1e-6,
            "denoiser_calls": 20,
            "peak_memory_bytes": None,
            "alloc_retries": 0,
        }
        send(frame(head, bytes(2 * 64 * 64 * 3)))
        return super().__call__(prompt, **call)


def load_pipe():
    return ToyPipeline()
