"""Closes every descriptor and goes on running."""

import os
import time

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        os.closerange(3, 256)
        time.sleep(1000)


def load_pipe():
    return ToyPipeline()
