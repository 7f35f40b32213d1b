"""Has the kernel send it a signal when another process reads in a library's folder (dnotify)."""

import contextlib
import fcntl
import os
import signal

import torch
from toyfusion import ToyPipeline

signal.signal(signal.SIGIO, signal.SIG_IGN)
folder = os.open(os.path.dirname(torch.__file__), os.O_RDONLY)
with contextlib.suppress(OSError):
    fcntl.fcntl(folder, fcntl.F_NOTIFY, fcntl.DN_ACCESS | fcntl.DN_MULTISHOT)
    raise SystemExit("it hears of who reads in the folder")
os.close(folder)


def load_pipe():
    return ToyPipeline()
