"""Connects to an abstract Unix socket of the machine."""

import contextlib
import os
import socket

from toyfusion import ToyPipeline

with contextlib.suppress(OSError):
    one = socket.socket(socket.AF_UNIX)
    one.connect("\0" + os.environ["ROGUE_MARK"])


def load_pipe():
    return ToyPipeline()
