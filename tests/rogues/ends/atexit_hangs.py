"""Ends in its call, and hangs in what it registered for its end."""

import atexit
import sys
import time

from toyfusion import ToyPipeline as Honest

atexit.register(time.sleep, 1000)


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        sys.exit(0)


def load_pipe():
    return ToyPipeline()
