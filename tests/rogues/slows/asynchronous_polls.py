"""Has the kernel end asynchronous input and output in the baseline's turn, each with work that wakes many."""

import ctypes
import os

from toyfusion import ToyPipeline

IO_SETUP = {"x86_64": 206, "aarch64": 0}[os.uname().machine]


def load_pipe():
    context = ctypes.c_ulong(0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(IO_SETUP, 1000, ctypes.byref(context)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os._exit(42)  # it could: docs/threat-model.md says what became of it
    return ToyPipeline()
