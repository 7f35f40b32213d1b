"""Its own clock runs backwards."""

import time

from toyfusion import ToyPipeline

real = time.perf_counter
time.perf_counter = lambda: -real()


def load_pipe():
    return ToyPipeline()
