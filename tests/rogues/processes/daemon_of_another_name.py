"""Leaves a daemon with another environment that answers to no name."""

import os
import subprocess

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        marked = f"sleep 600; : {os.environ['ROGUE_MARK']}"
        subprocess.Popen(["setsid", "sh", "-c", marked], env={}, stdin=subprocess.DEVNULL)
        os._exit(3)


def load_pipe():
    return ToyPipeline()
