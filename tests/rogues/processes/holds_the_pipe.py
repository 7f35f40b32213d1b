"""Is killed while a daemon of it holds the pipe open."""

import os
import signal
import time

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        if os.fork() == 0:
            os.setsid()
            time.sleep(600)
        os.kill(os.getpid(), signal.SIGKILL)


def load_pipe():
    return ToyPipeline()
