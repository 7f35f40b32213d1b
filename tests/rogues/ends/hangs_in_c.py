"""Hangs in C and lets no other thread run."""

import ctypes

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        ctypes.PyDLL(None).sleep(1000)


def load_pipe():
    return ToyPipeline()
