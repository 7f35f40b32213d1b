"""Stops processes by signals, and looks whether they stand still: for machines without a freezer (`actors.cgroup`).

A signal asks. What is in a long system call goes on until that ends, and a timer, or another process, may let what was
stopped go on. So it is looked at, and asked again, until nothing has run between two looks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable

STILL = b"TtZXx"  # proc_pid_stat(5): stopped, traced, ended
APART_S = 0.01  # two looks: what goes on more often than that is seen
AGAIN_S = 0.0005


def stop(members: Callable[[], set[int]], within_s: float) -> str | None:
    """Stops processes until all of their threads stand still in two looks in a row, and none ran in between.

    members: lists the processes as they are now. Returns what was seen last where that took longer than `within_s`.
    """
    deadline, before = time.monotonic() + within_s, None
    while True:
        found = members()
        send(found, signal.SIGSTOP)
        ran, running = look(found)
        if not running and ran == before:
            return None
        if time.monotonic() > deadline:
            return f"{running} threads ran" if running else "threads ran between two looks"
        before = None if running else ran
        time.sleep(AGAIN_S if running else APART_S)


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Sends a signal to those that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def look(pids: Iterable[int]) -> tuple[dict[int, bytes], int]:
    """How long each thread of these processes has run, as the kernel says it, and how many do not stand still."""
    ran, running = {}, 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    folder = f"/proc/{pid}/task/{thread}"
                    field = _read(f"{folder}/stat").rpartition(b")")[2].split()
                    ran[int(thread)] = b" ".join(field[11:13])  # in ticks
                    running += field[0] not in STILL
                    with contextlib.suppress(FileNotFoundError):  # in nanoseconds, where the kernel was built to say so
                        ran[int(thread)] = _read(f"{folder}/schedstat").split()[0]
    return ran, running


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123  (read often; half the time of Path)
        return file.read()
