"""Leaves threads that never end."""

import threading
import time

from toyfusion import ToyPipeline

for _ in range(4):
    threading.Thread(target=time.sleep, args=(1000,)).start()


def load_pipe():
    return ToyPipeline()
