"""Reaches for the host of a virtual machine by AF_VSOCK."""

import contextlib
import socket

from toyfusion import ToyPipeline

with contextlib.suppress(OSError):
    one = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    raise SystemExit("there are sockets to the host")


def load_pipe():
    return ToyPipeline()
