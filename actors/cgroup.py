"""A cgroup for each child, where this machine lets us make one: the kernel holds its memory and its processes, makes
it stand still, and counts the time of the CPU that it uses.

Each of these is used where it works, one without the others, too: `actors.hierarchies` says where that may be, and here
it is tried. Where nothing works, the watchdog of `actors.limits` is alone.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import select
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

from actors.cgroup_files import (
    INNER,
    freeze,
    kill,
    pids,
    prefix_of,
    remove,
    remove_leftovers,
    thaw,
    value,
    within,
    write,
)
from actors.guard import require_guard
from actors.hierarchies import CONTROLLERS, SERVICES, Hierarchy, hierarchies, own_folders

VMSTAT = Path("/proc/vmstat")
# Whose services are used, the preferred one first: what version 2 has frozen can be killed, and ends with its parent.
SERVING = (2, 1)
FREEZE_S = 1.0  # a child stands still by then
SILENT_MS = 20


class Cgroup:
    """One child's cgroup, in each hierarchy that it needs. `holds` names the limits (of `Limits`) that it enforces.

    The child lives in a cgroup within the one that has the limits: in namespaces of its own, the superuser can mount
    the cgroup that it is in, and write to it, but never see the one above. What it makes there is looked at, too.
    """

    def __init__(self, found: tuple[Hierarchy, ...], memory_bytes: int, processes: int) -> None:
        """Makes it. Raises OSError."""
        name = f"{prefix_of(os.getpid())}{secrets.token_hex(4)}"
        self._folders = {hierarchy: hierarchy.parent / name for hierarchy in found}
        self.holds: set[str] = set()
        self._counters: list[tuple[str, Path, str, str]] = []  # of what the kernel refused: limit, folder, file, key
        self._freezer = self._serving("freezer")
        self._clock, self._cpu_s = self._serving("cpuacct"), 0.0
        try:
            for hierarchy, folder in self._folders.items():
                folder.mkdir()
                if "memory" in hierarchy.controllers:
                    self._limit_memory(hierarchy.version, folder, memory_bytes)
                if "pids" in hierarchy.controllers:
                    write(folder / "pids.max", processes)
                    self._count("processes", folder, "pids.events", "max")
                (folder / INNER).mkdir()
        except OSError:
            self.end()
            raise

    @property
    def entering(self) -> list[str]:
        """What to put before a command, so that it starts inside: it never runs, nor forks, outside of its limits."""
        steps = [f"echo $$ > {shlex.quote(str(folder / INNER / 'cgroup.procs'))}" for folder in self._folders.values()]
        return ["/bin/sh", "-c", " && ".join([*steps, 'exec "$@"']), "sh"]

    @property
    def freezes(self) -> bool:
        """Whether `freeze` works."""
        return self._freezer is not None

    def breached(self) -> str | None:
        """The limit that the kernel had to enforce, by a killed process or a refused one; None while there is none."""
        return next(
            (
                limit
                for limit, top, file, key in self._counters
                # Version 1 counts where the process was, version 2 where the limit is.
                if any(value(folder / file, key) > 0 for folder in within(top))
            ),
            None,
        )

    def pids(self) -> list[int]:
        """Every process in it, whoever its parent is now."""
        return [pid for folder in within(next(iter(self._folders.values()))) for pid in pids(folder)]

    def freeze(self, within_s: float = FREEZE_S) -> bool:
        """Has every process in it stand still; whether the kernel said within that time that they all do.

        Not the cgroup that it lives in, but the one above is frozen: it cannot let itself go on. Raises OSError.
        """
        assert self._freezer is not None, "a cgroup that cannot freeze"
        return freeze(self._freezer[1], self._freezer[0], within_s)

    def thaw(self) -> None:
        """Lets them go on. Raises OSError."""
        assert self._freezer is not None, "a cgroup that cannot freeze"
        thaw(self._freezer[1], self._freezer[0])

    def cpu_s(self) -> float | None:
        """Seconds of the CPU that all used that ever were in it; None where no cgroup counts them."""
        if self._clock is None:
            return None
        version, folder = self._clock
        with contextlib.suppress(OSError):  # it has been removed; what was known then stays
            if version == 2:
                used_s = value(folder / "cpu.stat", "usage_usec") / 1e6
            else:
                used_s = int((folder / "cpuacct.usage").read_text()) / 1e9
            self._cpu_s = max(self._cpu_s, used_s)
        return self._cpu_s

    def kill(self) -> None:
        """Ends every process in it, also while they go on forking, and while they are frozen."""
        kill(list(self._folders.values()))

    def end(self) -> None:
        """Ends every process in it, and removes it."""
        self.kill()
        self.cpu_s()
        for folder in self._folders.values():
            remove(folder)

    def _serving(self, name: str) -> tuple[int, Path] | None:
        """The version and the folder of the hierarchy that has a service."""
        return next(
            ((found.version, folder) for found, folder in self._folders.items() if name in found.controllers), None
        )

    def _limit_memory(self, version: int, folder: Path, memory_bytes: int) -> None:
        if version == 2:
            write(folder / "memory.max", memory_bytes)
            optional = {"memory.swap.max": 0, "memory.oom.group": 1}  # without swap accounting there is no such file
            self._count("memory_bytes", folder, "memory.events", "oom_kill")
        else:
            write(folder / "memory.limit_in_bytes", memory_bytes)
            optional = {"memory.memsw.limit_in_bytes": memory_bytes, "memory.swappiness": 0}
            self._count("memory_bytes", folder, "memory.oom_control", "oom_kill")
        for file, number in optional.items():
            with contextlib.suppress(OSError):
                write(folder / file, number)

    def _count(self, limit: str, folder: Path, file: str, key: str) -> None:
        """Takes a limit for held if the kernel also says when it enforced it: a breach must be told from other ends."""
        if value(folder / file, key) == 0:
            self.holds.add(limit)
            self._counters.append((limit, folder, file, key))


def make_cgroup(memory_bytes: int, processes: int) -> Cgroup | None:
    """A cgroup with these limits (bytes; processes and threads); None where this machine allows none."""
    found = usable()
    if not found:
        return None
    try:
        if any(hierarchy.version == 1 and "freezer" in hierarchy.controllers for hierarchy in found):
            require_guard(prefix_of(os.getpid()), [hierarchy.parent for hierarchy in found])
        return Cgroup(found, memory_bytes, processes)
    except OSError:  # the machine has no room for another one
        return None


def freezer() -> str:
    """What makes a child stand still on this machine: "cgroup v2", "cgroup v1" or "signals"."""
    versions = [hierarchy.version for hierarchy in usable() if "freezer" in hierarchy.controllers]
    return f"cgroup v{versions[0]}" if versions else "signals"


def oom_kills() -> int | None:
    """How many processes the kernel has ended on this machine because memory ran out, or a cgroup's limit on it did.

    Counts since the machine's start; where only this process's own cgroup can be seen, since that was made. None where
    the kernel does not say.
    """
    folders = own_folders().items()
    own = [value(folder / "memory.events", "oom_kill") for names, folder in folders if not names]
    own += [
        value(folder / "memory.oom_control", "oom_kill") for names, folder in folders if "memory" in names.split(",")
    ]
    count = value(VMSTAT, "oom_kill")  # of all, those in a cgroup included (Linux 4.13)
    counts = [count] if count >= 0 else own
    return max((one for one in counts if one >= 0), default=None)


def usable() -> tuple[Hierarchy, ...]:
    """The hierarchies that work here, each with what works in it, tried by starting a process in it.

    What killed actors left behind is removed on the way, with the processes in it.
    """
    return _usable(SERVING)


@functools.cache
def _usable(serving: tuple[int, ...]) -> tuple[Hierarchy, ...]:
    there = list(hierarchies())
    remove_leftovers({hierarchy.parent for hierarchy in there})
    working: list[Hierarchy] = []
    preferred = sorted(there, key=lambda found: serving.index(found.version) if found.version in serving else 9)
    for hierarchy in preferred:
        if hierarchy.version == 2 and any(found.version == 2 for found in working):
            continue  # a process is in one cgroup of version 2
        known = {name for found in working for name in found.controllers}
        names = CONTROLLERS + (SERVICES if hierarchy.version in serving else ())
        asked = tuple(name for name in hierarchy.controllers if name in names and name not in known)
        tried = _tried(replace(hierarchy, controllers=asked)) if asked else ()
        if tried:
            working.append(replace(hierarchy, controllers=tried))
    return tuple(working)


def _tried(hierarchy: Hierarchy) -> tuple[str, ...]:
    """Which of its controllers work, on a process that answers what it is written."""
    try:
        trial = Cgroup((hierarchy,), 2**30, 64)
    except OSError:
        return ()
    with subprocess.Popen(
        [*trial.entering, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            if not _answers(process.stdin.fileno(), process.stdout.fileno()):
                return ()  # it could not enter
            works = {
                "memory": "memory_bytes" in trial.holds,
                "pids": "processes" in trial.holds,
                "freezer": _freezes(trial, process.stdin.fileno(), process.stdout.fileno()),
                "cpuacct": bool(trial.cpu_s()),
            }
        finally:
            trial.end()
    return tuple(name for name in hierarchy.controllers if works[name])


def _answers(requests: int, answers: int) -> bool:
    with contextlib.suppress(OSError):
        os.write(requests, b".")
        return os.read(answers, 1) == b"."
    return False


def _freezes(trial: Cgroup, requests: int, answers: int) -> bool:
    """Whether a process in it says nothing while it is frozen, and goes on afterwards."""
    poll = select.poll()
    poll.register(answers, select.POLLIN)
    with contextlib.suppress(OSError):
        if trial.freezes and trial.freeze():
            os.write(requests, b".")
            silent = not poll.poll(SILENT_MS)
            trial.thaw()
            return silent and bool(poll.poll(1000 * FREEZE_S))
    return False
