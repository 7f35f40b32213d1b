"""Ends a child that uses more of the machine than its limits allow, and says which limit that was.

Two ways at once. A cgroup, where the machine allows one (`actors.cgroup`): the kernel refuses what is too much, whether
or not anybody looks. And a watchdog, a thread of the supervisor that looks at the child while it is asked something: at
what the kernel refused, at the CPU time and the folders that no cgroup counts, and without a cgroup at everything.
What only its own process can be held to (RLIMIT_*) the child sets itself, before it loads a model file.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from actors import standstill
from actors.cgroup import FREEZE_S, Cgroup, freezer, make_cgroup
from actors.footprint import (
    TICKS_S,
    Hidden,
    Process,
    Tree,
    deleted_use,
    folder_use,
    memory_use,
    mounted_use,
    read_process,
)
from actors.hierarchies import memory_limit
from actors.messages import Limits, Status

CHILDREN = 3  # shares of an actor's memory: a baseline, a candidate, and the spare ones, which have only imported
PERIOD_S = 0.2
LONGEST_PERIOD_S = 1.0
LONGEST_DISK_PERIOD_S = 5.0
SHARE = 0.01  # of one CPU that looking should take; what costs more is done less often, up to the longest periods
STOP_ROUNDS = 100
CGROUP_CPU_S = 1e-6  # version 2 counts in microseconds, version 1 in nanoseconds


@dataclass(frozen=True)
class Breach:
    """A limit that a child passed."""

    status: Status
    text: str  # what it did, after "load: " or "generate: ": "printed more than 200 bytes (limits.output_bytes)"


def resolved(limits: Limits, actors: int = 1) -> Limits:
    """The limits with a number for the memory: a third of one actor's share, of `actors` on this machine."""
    if limits.memory_bytes is not None:
        return limits
    return replace(limits, memory_bytes=machine_memory() // actors // CHILDREN)


def machine_memory() -> int:
    """Bytes of memory of this machine, or of the container that this process is in."""
    total = int(psutil.virtual_memory().total)
    allowed = memory_limit()
    return total if allowed is None else min(total, allowed)


class Watchdog:
    """Holds one child to its limits, from before its start (`entering`) to its end (`end`).

    `breach` is the first limit that it passed; the child is killed then. It is looked at within `on_guard` alone: a
    child that stands still can use no more, and an idle look would only disturb what runs beside it.
    """

    def __init__(self, limits: Limits, folders: Sequence[str] = (), mounts: Sequence[str] = ()) -> None:
        """folders: on this machine's disk, that the child writes to. mounts: file systems that it alone sees, sized."""
        self.limits = resolved(limits)
        self.folders, self.mounts = folders, mounts
        self._disks = {Path(folder).stat().st_dev for folder in folders}
        self.breach: Breach | None = None
        assert self.limits.memory_bytes is not None
        self._cgroup: Cgroup | None = make_cgroup(self.limits.memory_bytes, limits.processes)
        self._awake, self._ended = threading.Event(), threading.Event()
        self._looking = threading.Lock()
        self._disk_due = self._cpu_s = 0.0
        self._stopped_by = freezer() if self._cgroup is not None else "signals"

    @property
    def entering(self) -> list[str]:
        """What to put before the child's command."""
        return self._cgroup.entering if self._cgroup else []

    def watch(self, pid: int, kill: Callable[[], None], warden: bool = False) -> None:
        """Takes the started process over. `kill` ends it; what it started is ended before.

        warden: that process is one, and goes on while the child stands still.
        """
        self._tree, self._kill = Tree(pid), kill
        self._asked_tree, self._warden = Tree(pid), warden  # a tree of its own: the thread looks at the other one
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @contextmanager
    def on_guard(self) -> Iterator[None]:
        """Within this the child may run, and is looked at."""
        self._awake.set()
        try:
            yield
        finally:
            self._awake.clear()

    def stop(self) -> str | None:
        """Has the child and all that it started stand still. Returns what was seen where they do not, in words."""
        if self._cgroup is None or not self._cgroup.freezes:
            self._asked_tree.forget()
            seen = standstill.stop(self._to_stop, FREEZE_S)
        else:
            seen = None if self._cgroup.freeze() else "the kernel did not say that they are frozen"
        if seen is None:
            return None
        return f"its processes did not stand still within {FREEZE_S:g} s of its answer ({self._stopped_by}: {seen})"

    def go_on(self) -> None:
        """Lets them go on."""
        if self._cgroup is None or not self._cgroup.freezes:
            standstill.send(self._to_stop(), signal.SIGCONT)
        else:
            self._cgroup.thaw()

    def cpu_s(self) -> float:
        """Seconds of the CPU that the child and all that it started used; never less than it was before.

        By a cgroup, all of it. Elsewhere from /proc: what ended and was not waited for by a parent is not in it.
        """
        counted = None if self._cgroup is None else self._cgroup.cpu_s()
        if counted is None:
            counted = sum(process.cpu_s + process.reaped_cpu_s for process in self._asked_tree.members())
        self._cpu_s = max(self._cpu_s, counted)
        return self._cpu_s

    @property
    def cpu_resolution_s(self) -> float:
        """What `cpu_s` is rounded to, of each process where no cgroup counts."""
        counts = self._cgroup is not None and self._cgroup.cpu_s() is not None
        return CGROUP_CPU_S if counts else TICKS_S

    def report(self, breach: Breach) -> None:
        """Notes a breach, unless one is known, and ends the child."""
        if self.breach is None:
            self.breach = breach
            self._kill_all()

    def look(self) -> Breach | None:
        """Compares what the child uses now with its limits; the breach that is known then."""
        with self._looking:
            if self.breach is None and not self._ended.is_set() and (text := self._passed()) is not None:
                self.report(Breach(Status.RESOURCE_LIMIT, text))
        return self.breach

    def end(self) -> None:
        """Stops looking, and ends what is left in the cgroup. May be called twice."""
        self._ended.set()
        self._awake.set()
        self._thread.join()
        if self._cgroup is not None:
            self._cgroup.end()

    def _run(self) -> None:
        pause_s = PERIOD_S
        while self._awake.wait() and not self._ended.wait(pause_s):
            if self._awake.is_set():
                begun = time.thread_time()
                self.look()
                pause_s = min(LONGEST_PERIOD_S, max(PERIOD_S, (time.thread_time() - begun) / SHARE))

    def _passed(self) -> str | None:
        """What the child did beyond a limit, in words."""
        limits = self.limits
        refused = self._cgroup.breached() if self._cgroup else None
        held = self._cgroup.holds if self._cgroup else set()
        processes = self._processes()
        files_bytes, full = self._mounted(processes)
        if refused == "memory_bytes" or ("memory_bytes" not in held and self._memory_is_out(processes, files_bytes)):
            return f"used more than {limits.memory_bytes:,} bytes of memory (limits.memory_bytes)"
        running = sum(process.threads for process in processes)
        if refused == "processes" or ("processes" not in held and running >= limits.processes):
            return f"started {limits.processes:,} processes and threads or more (limits.processes)"
        if any(process.cpu_s > limits.cpu_s for process in processes):
            return f"used more than {limits.cpu_s:g} s of the CPU in one process (limits.cpu_s)"
        if full is not None:
            return f"filled {full} with {limits.scratch_bytes:,} bytes (limits.scratch_bytes)"
        return self._disk_is_out(processes)

    def _processes(self) -> list[Process]:
        if self._cgroup is None:
            return self._tree.members()
        return [process for pid in self._cgroup.pids() if (process := read_process(pid)) is not None]

    def _to_stop(self) -> set[int]:
        """What must stand still: a cgroup has it together, whoever its parents are; the tree has what left that."""
        found = {process.pid for process in self._asked_tree.members()}
        found.update(self._cgroup.pids() if self._cgroup else ())
        return found - {self._asked_tree.pid} if self._warden else found

    def _memory_is_out(self, processes: Sequence[Process], files_bytes: int) -> bool:
        assert self.limits.memory_bytes is not None
        deleted = deleted_use(process.pid for process in processes)
        files_bytes += sum(size for device, size in deleted.items() if device not in self._disks)
        return memory_use(processes, files_bytes, self.limits.memory_bytes) > self.limits.memory_bytes

    def _mounted(self, processes: Sequence[Process]) -> tuple[int, str | None]:
        """Bytes in the file systems that the child alone sees, and one of them that is full."""
        used, full = 0, None
        if not self.mounts:
            return used, full
        # The process that was started stays outside of the namespaces that it makes for its first child.
        inside = next((process.pid for process in processes if process.parent == self._tree.pid), None)
        for folder in self.mounts:
            with contextlib.suppress(OSError):
                of_this, free = mounted_use(inside or 0, folder)
                used += of_this
                full = folder if free == 0 else full
        return used, full

    def _disk_is_out(self, processes: Sequence[Process]) -> str | None:
        """Looks at the folders on the disk, as often as it may."""
        begun = time.thread_time()
        if not self.folders or time.monotonic() < self._disk_due:
            return None
        allowed = self.limits.scratch_bytes
        try:
            used = [folder_use(folder, allowed) for folder in self.folders]
        except Hidden as hidden:
            return f"its working folder {hidden} (limits.scratch_bytes)"
        deleted = deleted_use(process.pid for process in processes)
        on_disk = sum(deleted[device] for device in self._disks)
        self._disk_due = time.monotonic() + min(LONGEST_DISK_PERIOD_S, (time.thread_time() - begun) / SHARE)
        if max(used) + on_disk > allowed:
            return f"wrote more than {allowed:,} bytes to the disk (limits.scratch_bytes)"
        return None

    def _kill_all(self) -> None:
        """Ends the child. Without a cgroup what it started is stopped and killed first, since it may hinder its end;
        never the process that was started: a warden that is gone ends nothing that a look here missed.
        """
        if self._cgroup is not None:
            self._cgroup.kill()
        else:
            stopped: set[int] = set()
            for _ in range(STOP_ROUNDS):
                found = {process.pid for process in self._tree.members()} - stopped - {self._tree.pid}
                if not found:
                    break
                standstill.send(found, signal.SIGSTOP)
                stopped |= found
            standstill.send(stopped, signal.SIGKILL)
        self._kill()
