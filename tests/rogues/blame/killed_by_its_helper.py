"""Has a helper that goes on by a timer, measures the baseline's turn, and kills the candidate where it was quick."""

import os
import signal
import time

from turns import CALLS, MAIN, MILLISECONDS, SHARED, ToyPipeline, go_on_by_timer, main_is_stopped, start_helpers


def work():
    go_on_by_timer()
    while True:
        begun = time.perf_counter()
        while main_is_stopped():
            time.sleep(0.001)
        if SHARED[CALLS] > 2 and 0.005 < time.perf_counter() - begun < 0.003 * SHARED[MILLISECONDS]:
            os.kill(MAIN, signal.SIGKILL)
        time.sleep(0.001)


def load_pipe():
    start_helpers(work, 1)
    return ToyPipeline()
