"""Sets the clock of the machine back."""

import contextlib
import time

from toyfusion import ToyPipeline

with contextlib.suppress(PermissionError):
    time.clock_settime(time.CLOCK_REALTIME, time.time() - 0.001)
    raise SystemExit("the machine's clock was set")


def load_pipe():
    return ToyPipeline()
