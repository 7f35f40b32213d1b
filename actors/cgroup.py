"""A cgroup for each child, where this machine lets us make one: the kernel holds its memory and its processes.

Version 1 (hierarchies of their own for `memory` and `pids`) and version 2 (one for both). In version 2 a cgroup that
holds processes cannot hand its controllers down, so an actor's own one serves only at the root, and its parent where
that has both switched on and may be written to. Where nothing works, the watchdog of `actors.limits` is alone.
Source: the kernel's admin-guide/cgroup-v1 and admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
OWN = Path("/proc/self/cgroup")
CONTROLLERS = ("memory", "pids")
INNER = "child"
END_S = 2.0  # a killed process leaves its cgroup a moment later


@dataclass(frozen=True)
class Hierarchy:
    """A folder in which a child's cgroup can be made, and what cgroups there can hold."""

    parent: Path
    version: int
    controllers: tuple[str, ...]  # of CONTROLLERS


class Cgroup:
    """One child's cgroup, in each hierarchy that it needs. `holds` names the limits (of `Limits`) that it enforces.

    The child lives in a cgroup within the one that has the limits: in namespaces of its own, the superuser can mount
    the cgroup that it is in, and write to it, but never see the one above. What it makes there is looked at, too.
    """

    def __init__(self, found: tuple[Hierarchy, ...], memory_bytes: int, processes: int) -> None:
        """Makes it. Raises OSError."""
        name = f"{_prefix(os.getpid())}{secrets.token_hex(4)}"
        self._folders = {hierarchy: hierarchy.parent / name for hierarchy in found}
        self.holds: set[str] = set()
        self._counters: list[tuple[str, Path, str, str]] = []  # of what the kernel refused: limit, folder, file, key
        try:
            for hierarchy, folder in self._folders.items():
                folder.mkdir()
                if "memory" in hierarchy.controllers:
                    self._limit_memory(hierarchy.version, folder, memory_bytes)
                if "pids" in hierarchy.controllers:
                    _write(folder / "pids.max", processes)
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

    def breached(self) -> str | None:
        """The limit that the kernel had to enforce, by a killed process or a refused one; None while there is none."""
        return next(
            (
                limit
                for limit, top, file, key in self._counters
                # Version 1 counts where the process was, version 2 where the limit is.
                if any(_value(folder / file, key) > 0 for folder in _within(top))
            ),
            None,
        )

    def pids(self) -> list[int]:
        """Every process in it, whoever its parent is now."""
        return [pid for folder in _within(next(iter(self._folders.values()))) for pid in _pids(folder)]

    def kill(self) -> None:
        """Ends every process in it, also while they go on forking."""
        for folder in self._folders.values():
            with contextlib.suppress(OSError):
                _write(folder / "pids.max", 0)
        deadline = time.monotonic() + END_S
        while (pids := self.pids()) and time.monotonic() < deadline:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)

    def end(self) -> None:
        """Ends every process in it, and removes it."""
        self.kill()
        for folder in self._folders.values():
            _remove(folder)

    def _limit_memory(self, version: int, folder: Path, memory_bytes: int) -> None:
        if version == 2:
            _write(folder / "memory.max", memory_bytes)
            optional = {"memory.swap.max": 0, "memory.oom.group": 1}  # without swap accounting there is no such file
            self._count("memory_bytes", folder, "memory.events", "oom_kill")
        else:
            _write(folder / "memory.limit_in_bytes", memory_bytes)
            optional = {"memory.memsw.limit_in_bytes": memory_bytes, "memory.swappiness": 0}
            self._count("memory_bytes", folder, "memory.oom_control", "oom_kill")
        for file, value in optional.items():
            with contextlib.suppress(OSError):
                _write(folder / file, value)

    def _count(self, limit: str, folder: Path, file: str, key: str) -> None:
        """Takes a limit for held if the kernel also says when it enforced it: a breach must be told from other ends."""
        if _value(folder / file, key) == 0:
            self.holds.add(limit)
            self._counters.append((limit, folder, file, key))


def make_cgroup(memory_bytes: int, processes: int) -> Cgroup | None:
    """A cgroup with these limits (bytes; processes and threads); None where this machine allows none."""
    found = usable()
    if not found:
        return None
    try:
        return Cgroup(found, memory_bytes, processes)
    except OSError:  # the machine has no room for another one
        return None


@functools.cache
def usable() -> tuple[Hierarchy, ...]:
    """The hierarchies that work here, each tried by starting a process in it.

    What killed actors left behind is removed on the way, with the processes in it.
    """
    working = []
    for hierarchy in hierarchies():
        remove_leftovers(hierarchy.parent)
        try:
            trial = Cgroup((hierarchy,), 2**30, 64)
        except OSError:
            continue
        try:
            done = subprocess.run([*trial.entering, "true"], capture_output=True, check=False)
        finally:
            trial.end()
        if done.returncode == 0 and len(trial.holds) == len(hierarchy.controllers):
            working.append(hierarchy)
    return tuple(working)


def hierarchies() -> Iterator[Hierarchy]:
    """Where a cgroup with the controllers may be made, at or beside this process's own one; not tried yet."""
    version_2, version_1 = {}, {}
    for controllers, folder in own_folders().items():
        if controllers:
            version_1[folder] = tuple(name for name in CONTROLLERS if name in controllers.split(","))
        else:
            version_2[folder] = CONTROLLERS
    for folder, names in version_1.items():
        if names:
            yield Hierarchy(folder, 1, names)
    if not any(version_1.values()):
        for folder, names in version_2.items():
            parent = _hands_down(folder)
            if parent is not None:
                yield Hierarchy(parent, 2, names)


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
            limits.append(_value(folder / "memory.stat", "hierarchical_memory_limit"))
        elif not controllers:
            for above in (folder, *folder.parents):
                with contextlib.suppress(OSError, ValueError):
                    limits.append(int((above / "memory.max").read_text()))
    return min((limit for limit in limits if 0 < limit < 2**60), default=None)  # version 1 has a huge number for none


def remove_leftovers(parent: Path) -> None:
    """Removes the cgroups of supervisors that no longer live, and ends what still runs there."""
    mine = _prefix()
    for folder in parent.glob(f"{mine}*"):
        owner = folder.name.removeprefix(mine).split("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            for pid in (pid for inner in _within(folder) for pid in _pids(inner)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            _remove(folder)


def _prefix(pid: int | None = None) -> str:
    """How names begin. A number of a process says nothing outside of its PID namespace, so that is in it, too."""
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    return f"diffharness-{namespace}-" + ("" if pid is None else f"{pid}-")


def _hands_down(own: Path) -> Path | None:
    """The cgroup of version 2, `own` or its parent, whose children have both controllers."""
    with contextlib.suppress(OSError):  # refused where `own` holds processes, which it does unless it is the root
        _write(own / "cgroup.subtree_control", " ".join(f"+{name}" for name in CONTROLLERS))
    for folder in (own, own.parent):
        with contextlib.suppress(OSError):
            if set(CONTROLLERS) <= set((folder / "cgroup.subtree_control").read_text().split()):
                return folder
    return None


def _write(path: Path, value: int | str) -> None:
    # Without O_CREAT: what the kernel does not offer must fail, and not become a file.
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)


def _value(path: Path, key: str) -> int:
    """The number after a key in a file of lines "key number"; -1 where there is none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return -1
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{key} ")), -1)


def _within(folder: Path) -> list[Path]:
    """A cgroup and all within it, those above first."""
    found = [folder, folder / INNER]
    for inner in found[1:]:
        with contextlib.suppress(OSError):
            if inner.stat().st_nlink > 2:  # it has folders; listing its files would take longer than all the rest
                found += [Path(name) for name, _, _ in os.walk(inner) if name != str(inner)]
    return found


def _pids(folder: Path) -> list[int]:
    try:
        return [
            pid for pid in map(int, (folder / "cgroup.procs").read_text().split()) if pid
        ]  # 0: of another namespace
    except OSError:
        return []


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + END_S
    while True:
        try:
            for inner in reversed(_within(folder)[1:]):
                with contextlib.suppress(FileNotFoundError):
                    inner.rmdir()
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                return  # the next start removes it
            time.sleep(0.005)
