"""Stops itself, and so every thread of its own."""

import os
import signal

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        os.kill(os.getpid(), signal.SIGSTOP)
        return super().__call__(prompt, **call)


def load_pipe():
    return ToyPipeline()
