"""Helpers that use the CPU while the process of the model file is stopped, and know how many calls there were.

Two calls are the warm-up; the baseline has its turns between the others, two in a row between every second two. Each
helper is a session of its own, since the kernel's autogroups share the CPU out by session.
"""

import ctypes
import mmap
import os
import signal
import time

from toyfusion import ToyPipeline as Honest

LIBC = ctypes.CDLL(None)
SHARED = memoryview(mmap.mmap(-1, 4096)).cast("i")  # with all that is forked from here on
CALLING, CALLS, MILLISECONDS, FIRST_HELPER = range(4)  # of the last call
HELPERS = min(64, 16 * len(os.sched_getaffinity(0)))
MAIN = os.getpid()


class ToyPipeline(Honest):
    def __call__(self, *request, **call):
        SHARED[CALLING] = 1
        SHARED[CALLS] += 1
        begun = time.perf_counter()
        try:
            return super().__call__(*request, **call)
        finally:
            SHARED[MILLISECONDS] = int(1000 * (time.perf_counter() - begun))
            SHARED[CALLING] = 0


def main_is_stopped():
    with open(f"/proc/{MAIN}/stat") as stat:
        return stat.read().rpartition(") ")[2][0] == "T"


def after_warm_up(calls):
    return calls >= 2


def spin(chosen=after_warm_up, nap_s=0.01):
    """Uses the CPU where it is somebody else's turn and `chosen` wants it, and else sleeps, for ever."""
    while True:
        if chosen(SHARED[CALLS]) and main_is_stopped():
            for _ in range(30_000):
                pass
        else:
            time.sleep(nap_s)


def leave_a_quiet_turn(nap_s=0.005):
    """Returns when the baseline has had as much time as one of our own calls and a half takes."""
    quiet_s = 0.0
    while SHARED[CALLS] < 2 or quiet_s < 0.0015 * SHARED[MILLISECONDS]:
        before = time.perf_counter()
        time.sleep(nap_s)
        if SHARED[CALLS] >= 2 and main_is_stopped():
            quiet_s += time.perf_counter() - before


def start_helpers(work, count=HELPERS):
    """Forks processes that do `work`, which does not return. Their numbers are shared."""
    for place in range(count):
        if os.fork() == 0:
            os.setsid()
            SHARED[FIRST_HELPER + place] = os.getpid()
            work()
            os._exit(0)


def go_on_by_timer(period_s=0.005):
    """Has a timer of the kernel send this process the signal to go on, again and again. See timer_create(2)."""
    signal.signal(signal.SIGCONT, lambda *_: None)  # the timer of a signal that is ignored rests
    event = (ctypes.c_int * 16)()
    event[2] = signal.SIGCONT
    timer = ctypes.c_void_p()
    LIBC.timer_create(time.CLOCK_MONOTONIC, event, ctypes.byref(timer))
    LIBC.timer_settime(timer, 0, (ctypes.c_long * 4)(0, int(1e9 * period_s), 0, int(1e9 * period_s)), None)
