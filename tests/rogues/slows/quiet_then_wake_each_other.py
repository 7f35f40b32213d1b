"""Leaves the baseline a quiet turn, and then has helpers that let each other go on without a pause."""

import os
import signal
import time

from turns import CALLING, FIRST_HELPER, HELPERS, SHARED, ToyPipeline, go_on_by_timer, leave_a_quiet_turn, start_helpers


def work():
    go_on_by_timer()
    leave_a_quiet_turn()
    while True:
        if SHARED[CALLING]:
            time.sleep(0.01)
            continue
        for pid in SHARED[FIRST_HELPER : FIRST_HELPER + HELPERS]:
            os.kill(pid, signal.SIGCONT)


def load_pipe():
    start_helpers(work)
    return ToyPipeline()
