"""Announces a payload of a thousand gigabytes."""

import os
import struct
import sys

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        os.write(int(sys.argv[2]), struct.pack(">IQ", 2, 1 << 40) + b"{}")
        return super().__call__(prompt, **call)


def load_pipe():
    return ToyPipeline()
