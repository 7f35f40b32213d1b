"""Ends with success in its call, and says nothing."""

import os

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        os._exit(0)


def load_pipe():
    return ToyPipeline()
