"""Sends a header of a hundred thousand brackets."""

import os
import struct
import sys
import time

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        data = b"[" * 50_000 + b"]" * 50_000
        os.write(int(sys.argv[2]), struct.pack(">IQ", len(data), 0))
        while data:
            try:
                data = data[os.write(int(sys.argv[2]), data) :]
            except BlockingIOError:
                time.sleep(0.01)
        return super().__call__(prompt, **call)


def load_pipe():
    return ToyPipeline()
