"""Attaches to every process that it sees, as a debugger does."""

import ctypes
import os
from pathlib import Path

from toyfusion import ToyPipeline

ATTACH, DETACH = 16, 17  # linux/ptrace.h
libc = ctypes.CDLL(None)

for pid in [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]:
    if pid > 2 and pid not in (os.getpid(), os.getppid()) and libc.ptrace(ATTACH, pid, 0, 0) == 0:
        libc.ptrace(DETACH, pid, 0, 0)
        raise SystemExit(f"attached to {pid}")


def load_pipe():
    return ToyPipeline()
