"""Leaves the CPUs that it was put on."""

import os

from toyfusion import ToyPipeline

given = os.sched_getaffinity(0)
os.sched_setaffinity(0, range(os.cpu_count()))
if os.sched_getaffinity(0) != given:
    raise SystemExit(f"it was put on {given}, and has {os.sched_getaffinity(0)}")


def load_pipe():
    return ToyPipeline()
