"""Announces a header of four gigabytes."""

import os
import sys

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        os.write(int(sys.argv[2]), b"\xff" * 12)
        return super().__call__(prompt, **call)


def load_pipe():
    return ToyPipeline()
