"""Has a helper, which it forks, take other CPUs, for itself and for its parent."""

import os
import time

from toyfusion import ToyPipeline

given = os.sched_getaffinity(0)
others = set(range(os.cpu_count())) - given or given
helper = os.fork()
if not helper:
    os.sched_setaffinity(0, others)
    os.sched_setaffinity(os.getppid(), others)
    time.sleep(0.02)
    os._exit(os.sched_getaffinity(0) != given)
moved = os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1])
if moved or os.sched_getaffinity(0) != given:
    raise SystemExit(f"it was put on {given}, and has {os.sched_getaffinity(0)}; its helper moved: {bool(moved)}")


def load_pipe():
    return ToyPipeline()
