"""Logs and warns without end, on the other stream."""

import sys

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        for _ in range(500_000):
            sys.stderr.write("W" * 4000 + "\n")
        return super().__call__(prompt, **call)


def load_pipe():
    return ToyPipeline()
