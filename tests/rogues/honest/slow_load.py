"""Takes two seconds to load."""

import time

from toyfusion import ToyPipeline


def load_pipe():
    time.sleep(2)
    return ToyPipeline()
