"""Spells a number by a lock of an open file (F_OFD_SETLK) on a library, and asks for it by another one."""

import contextlib
import fcntl
import os
import struct

import torch
from toyfusion import ToyPipeline

F_OFD_GETLK, F_OFD_SETLK = 36, 37
LOCK = "hhqqi4x"  # struct flock
NUMBER = 42  # where the lock starts

speaker, listener = (os.open(torch.__file__, os.O_RDONLY) for _ in range(2))
fcntl.fcntl(speaker, F_OFD_SETLK, struct.pack(LOCK, fcntl.F_RDLCK, os.SEEK_SET, NUMBER, 1, 0))
with contextlib.suppress(OSError):
    found = fcntl.fcntl(listener, F_OFD_GETLK, struct.pack(LOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    raise SystemExit(f"another open file said {struct.unpack(LOCK, found)[2]}")


def load_pipe():
    return ToyPipeline()
