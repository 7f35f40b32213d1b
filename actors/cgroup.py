"""A cgroup for each child, where this machine lets us make one: the kernel holds its memory and its processes, makes
it stand still, and counts the time of the CPU that it uses.

Version 1 (hierarchies of their own for `memory`, `pids`, `freezer` and `cpuacct`) and version 2 (one for all of it). In
version 2 a cgroup that holds processes cannot hand its controllers down, so an actor's own one serves for `memory` and
`pids` only at the root, and its parent where that has both switched on and may be written to. Freezing and counting
need no controller there: any cgroup serves that may be written to. Where nothing works, the watchdog of `actors.limits`
is alone. Source: the kernel's admin-guide/cgroup-v1 and admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import select
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from actors.cgroup_files import INNER, freeze, kill, pids, prefix_of, remove, remove_leftovers, thaw, value, within, write
from actors.guard import require_guard

MOUNTS = Path("/proc/self/mountinfo")
OWN = Path("/proc/self/cgroup")
VMSTAT = Path("/proc/vmstat")
CONTROLLERS = ("memory", "pids")
SERVICES = ("freezer", "cpuacct")  # by their names in version 1; in version 2 every cgroup has both
# Whose services are used, the preferred one first: what version 2 has frozen can be killed, and ends with its parent.
SERVING = (2, 1)
FREEZE_S = 1.0  # a child stands still by then
SILENT_MS = 20


@dataclass(frozen=True)
class Hierarchy:
    """A folder in which a child's cgroup can be made, and what cgroups there can do."""

    parent: Path
    version: int
    controllers: tuple[str, ...]  # of CONTROLLERS and SERVICES


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
    own += [value(folder / "memory.oom_control", "oom_kill") for names, folder in folders if "memory" in names.split(",")]
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


def hierarchies() -> Iterator[Hierarchy]:
    """Where a cgroup may be made, at or beside this process's own one, and what for; not tried yet."""
    version_1, version_2 = {}, []
    for names, folder in own_folders().items():
        if names:
            version_1[folder] = tuple(name for name in CONTROLLERS + SERVICES if name in names.split(","))
        else:
            version_2.append(folder)
    for own in version_2:
        limited = any(set(CONTROLLERS) & set(names) for names in version_1.values())
        parent = None if limited else _hands_down(own)
        if parent is not None:
            yield Hierarchy(parent, 2, CONTROLLERS + SERVICES)
        yield Hierarchy(own, 2, SERVICES)
        if (own.parent / "cgroup.procs").exists():
            yield Hierarchy(own.parent, 2, SERVICES)
    for folder, names in version_1.items():
        if names:
            yield Hierarchy(folder, 1, names)


def own_folders() -> dict[str, Path]:
    """The folder of this process's own cgroup in each hierarchy that is mounted, under its controllers ("": version 2).

    A container may see only a part of a hierarchy; its own cgroup is then the root of what is mounted.
    """
    own = {}
    for line in OWN.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own[controllers] = path
    folders = {}
    for line in MOUNTS.read_text().splitlines():
        before, after = line.split(" - ", 1)
        root, point = before.split()[3:5]
        kind, _, options = after.split()[:3]
        for controllers, path in own.items():
            of_this_mount = (
                kind == "cgroup2" if not controllers else set(controllers.split(",")) <= {*options.split(",")}
            )
            if kind.startswith("cgroup") and of_this_mount:
                inner = os.path.relpath(path, root) if Path(path).is_relative_to(root) else "."
                folders[controllers] = Path(point) / inner
    return folders


def memory_limit() -> int | None:
    """The least memory that this process's cgroups allow, in bytes; None where they allow all of it."""
    limits = []
    for controllers, folder in own_folders().items():
        if "memory" in controllers.split(","):
            limits.append(value(folder / "memory.stat", "hierarchical_memory_limit"))
        elif not controllers:
            for above in (folder, *folder.parents):
                with contextlib.suppress(OSError, ValueError):
                    limits.append(int((above / "memory.max").read_text()))
    return min((limit for limit in limits if 0 < limit < 2**60), default=None)  # version 1 has a huge number for none


def _hands_down(own: Path) -> Path | None:
    """The cgroup of version 2, `own` or its parent, whose children have both controllers."""
    with contextlib.suppress(OSError):  # refused where `own` holds processes, which it does unless it is the root
        write(own / "cgroup.subtree_control", " ".join(f"+{name}" for name in CONTROLLERS))
    for folder in (own, own.parent):
        with contextlib.suppress(OSError):
            if set(CONTROLLERS) <= set((folder / "cgroup.subtree_control").read_text().split()):
                return folder
    return None
