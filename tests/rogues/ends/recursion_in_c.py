"""Calls itself for ever through C, with Python's own limit lifted."""

import sys

from toyfusion import ToyPipeline as Honest

sys.setrecursionlimit(2**31 - 1)


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        return next(map(self, [prompt]))


def load_pipe():
    return ToyPipeline()
