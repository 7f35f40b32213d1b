"""How fast the host's CPUs are just now.

A pipeline that the GPU finishes faster than Python launches it takes as long as one thread of the host does. On a
shared machine that thread's speed depends on the neighbour on the core's other hyper-thread: on a virtual machine with
an H100 a loop of pure Python took 0.105 s or 0.155 s, for seconds at a time, and the kernel counted no stolen time.
"""

from __future__ import annotations

import contextlib
import math
import os
import time

import psutil

SPIN = 20_000  # steps of the loop: about 1 ms
SPINS = 3  # the fastest counts: an interrupt is no slow CPU
WORTH_A_MOVE = 1.05  # a slowdown that makes it worth while to look at the other CPUs


def stay_on_cpus(place: int, threads: int) -> None:
    """Keeps this thread, and every child that it starts, on `threads` CPUs of its own.

    The scheduler would let each child settle on a CPU of its choice. CPUs differ, by their neighbours on the machine if
    by nothing else, and that would pass for a difference between the two sides of a pair.
    """
    cpus = sorted(os.sched_getaffinity(0))
    start = place * threads % len(cpus)
    os.sched_setaffinity(0, (cpus * 2)[start : start + threads])


class HostPace:
    """Looks at the CPUs that this process, and so every child, may run on."""

    def __init__(self) -> None:
        self.cpus = sorted(os.sched_getaffinity(0))
        self._fastest_s = math.inf
        for cpu in self.cpus:
            self._spin(cpu)

    def slowdown(self, pid: int) -> float | None:
        """How much slower the CPU on which the main thread of `pid` ran last is than the fastest seen; 1.0 is as fast.

        None where that process is gone.
        """
        try:
            return self._spin(psutil.Process(pid).cpu_num()) / self._fastest_s
        except psutil.NoSuchProcess:
            return None

    def seat(self, pid: int) -> float | None:
        """Moves the main thread of `pid`, if its CPU is slow, to the fastest; it may go where it likes from there.

        Returns the slowdown of the CPU that it is on now, as `slowdown` does.
        """
        here = self.slowdown(pid)
        if here is None or here < WORTH_A_MOVE or len(self.cpus) == 1:
            return here
        seconds = {cpu: self._spin(cpu) for cpu in self.cpus}
        fastest = min(seconds, key=seconds.__getitem__)
        with contextlib.suppress(ProcessLookupError):  # the next request says so
            os.sched_setaffinity(pid, {fastest})
            os.sched_setaffinity(pid, self.cpus)
        return seconds[fastest] / self._fastest_s

    def _spin(self, cpu: int) -> float:
        """Seconds that a fixed loop takes on one CPU."""
        os.sched_setaffinity(0, {cpu})
        try:
            fastest = min(_loop() for _ in range(SPINS))
        finally:
            os.sched_setaffinity(0, self.cpus)
        self._fastest_s = min(self._fastest_s, fastest)
        return fastest


def _loop() -> float:
    start = time.perf_counter()
    total = 0
    for number in range(SPIN):
        total += number
    return time.perf_counter() - start
