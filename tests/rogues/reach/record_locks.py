"""Spells a number by a record lock on a library, and reads it in another process with F_GETLK."""

import contextlib
import fcntl
import os
import signal
import struct

import torch
from toyfusion import ToyPipeline

NUMBER = 42  # where the lock starts
LOCK = "hhqqi4x"  # struct flock

library = os.open(torch.__file__, os.O_RDONLY)
ready, said = os.pipe()
speaker = os.fork()
if not speaker:
    fcntl.lockf(library, fcntl.LOCK_SH, 1, NUMBER)
    os.write(said, b".")
    signal.pause()
os.read(ready, 1)
try:
    with contextlib.suppress(OSError):
        found = fcntl.fcntl(library, fcntl.F_GETLK, struct.pack(LOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        raise SystemExit(f"another process said {struct.unpack(LOCK, found)[2]}")
finally:
    os.kill(speaker, signal.SIGKILL)
    os.waitpid(speaker, 0)


def load_pipe():
    return ToyPipeline()
