"""Ignores every signal that can be ignored."""

import contextlib
import signal

from toyfusion import ToyPipeline

for number in signal.valid_signals():
    with contextlib.suppress(OSError, ValueError):
        signal.signal(number, signal.SIG_IGN)


def load_pipe():
    return ToyPipeline()
