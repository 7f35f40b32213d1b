"""Has helpers that let each other go on without a pause: whoever is stopped last has woken the others."""

import os
import signal
import time

from turns import CALLING, CALLS, FIRST_HELPER, HELPERS, SHARED, ToyPipeline, start_helpers


def work():
    while True:
        if SHARED[CALLING] or SHARED[CALLS] < 2:
            time.sleep(0.01)
            continue
        for pid in SHARED[FIRST_HELPER : FIRST_HELPER + HELPERS]:
            os.kill(pid, signal.SIGCONT)


def load_pipe():
    start_helpers(work)
    return ToyPipeline()
