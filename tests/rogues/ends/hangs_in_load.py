"""Hangs in its loading."""

import time

from toyfusion import ToyPipeline

time.sleep(1000)


def load_pipe():
    return ToyPipeline()
