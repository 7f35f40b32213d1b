"""Reads address 0."""

import ctypes

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        return ctypes.string_at(0)


def load_pipe():
    return ToyPipeline()
