"""Takes memory for ever."""

import os

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        taken = [bytes(2**20) + os.urandom(1) for _ in range(6000)]
        return super().__call__(prompt, **call), taken


def load_pipe():
    return ToyPipeline()
