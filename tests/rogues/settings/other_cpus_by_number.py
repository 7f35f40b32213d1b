"""Leaves its CPUs thread by thread, by the number of the call, and looks where the threads run."""

import ctypes
import os
import platform
import threading
import time

from toyfusion import ToyPipeline

SETAFFINITY = {"x86_64": 203, "aarch64": 122}.get(platform.machine(), -1)

given, ran_on = os.sched_getaffinity(0), set()
libc = ctypes.CDLL(None)


def runs_on(cpu):
    mask = (ctypes.c_uint8 * 128)()
    mask[cpu // 8] = 1 << cpu % 8
    libc.syscall(ctypes.c_long(SETAFFINITY), ctypes.c_long(0), ctypes.c_long(128), mask)
    until = time.perf_counter() + 0.05
    while time.perf_counter() < until:
        ran_on.add(libc.sched_getcpu())


threads = [threading.Thread(target=runs_on, args=(cpu,)) for cpu in range(min(os.cpu_count(), 8))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if ran_on - given:
    raise SystemExit(f"it was put on {given}, and ran on {ran_on}")


def load_pipe():
    return ToyPipeline()
