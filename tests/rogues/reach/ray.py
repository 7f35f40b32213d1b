"""Looks for Ray: its sockets, its ports, its folder."""

import contextlib
import socket
from pathlib import Path

from toyfusion import ToyPipeline

for port in (6379, 8265, 10001):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
        raise SystemExit(f"port {port} of Ray answers")
if list(Path("/tmp").glob("ray*")):
    raise SystemExit("the folder of Ray is there")


def load_pipe():
    return ToyPipeline()
