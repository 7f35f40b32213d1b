"""Fills a file that lies nowhere but in memory."""

import os

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        descriptor = os.memfd_create("rogue")
        for _ in range(6000):
            os.write(descriptor, b"x" * 2**20)
        return super().__call__(prompt, **call)


def load_pipe():
    return ToyPipeline()
