"""Kills itself."""

import os
import signal

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        os.kill(os.getpid(), signal.SIGKILL)


def load_pipe():
    return ToyPipeline()
