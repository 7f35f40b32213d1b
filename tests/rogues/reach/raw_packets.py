"""Opens sockets for raw packets, on which others' traffic can be heard."""

import contextlib
import socket

from toyfusion import ToyPipeline

with contextlib.suppress(OSError):
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)
    one.bind(("eth0", 0))
    raise SystemExit("the machine's network can be heard")


def load_pipe():
    return ToyPipeline()
