"""Aborts."""

import os

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        os.abort()


def load_pipe():
    return ToyPipeline()
