"""The files of a child's cgroups: how they are named, read, written, frozen, emptied and removed.

What is written is the interface of the kernel's admin-guide/cgroup-v1, freezer-subsystem.rst and cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

INNER = "child"
END_S = 2.0  # a killed process leaves its cgroup a moment later
SHORTEST_S, LONGEST_S = 0.0002, 0.001  # between two looks at a cgroup that is about to be frozen


@dataclass(frozen=True)
class Freezer:
    """How cgroups of one version are frozen: the file, what it takes, and where it says that all are frozen."""

    file: str
    on: str
    off: str
    told_by: str

    def is_frozen(self, folder: Path) -> bool:
        """Whether all processes within the cgroup are frozen, and not about to be."""
        if self.told_by != self.file:
            return value(folder / self.told_by, "frozen") == 1
        return (folder / self.file).read_text().strip() == self.on


FREEZERS = {
    1: Freezer("freezer.state", "FROZEN", "THAWED", "freezer.state"),
    2: Freezer("cgroup.freeze", "1", "0", "cgroup.events"),
}


def freeze(folder: Path, version: int, within_s: float) -> bool:
    """Freezes all processes within a cgroup; whether the kernel said within that time that they are. Raises OSError."""
    kind = FREEZERS[version]
    write(folder / kind.file, kind.on)
    deadline, pause_s = time.monotonic() + within_s, SHORTEST_S
    while not kind.is_frozen(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_s)
        pause_s = min(LONGEST_S, 1.5 * pause_s)
    return True


def thaw(folder: Path, version: int) -> None:
    """Lets the processes within a cgroup go on. Raises OSError."""
    write(folder / FREEZERS[version].file, FREEZERS[version].off)


def kill(folders: Sequence[Path]) -> None:
    """Ends every process within one child's cgroups, also while they go on forking, and while they are frozen.

    folders: one in each hierarchy that the child is in. What version 1 has frozen does not end before it is thawed; the
    signal is sent before that, so it does not run in between.
    """
    for folder in folders:
        for file, number in (("pids.max", 0), ("cgroup.kill", 1)):
            with contextlib.suppress(OSError):
                write(folder / file, number)
    deadline = time.monotonic() + END_S
    while True:
        for folder in folders:
            with contextlib.suppress(OSError):  # so that fewer can fork while they are listed
                write(folder / FREEZERS[1].file, FREEZERS[1].on)
        found = {pid for folder in folders for inner in within(folder) for pid in pids(inner)}
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for folder in folders:
            for version in FREEZERS:
                with contextlib.suppress(OSError):
                    thaw(folder, version)
        if not found or time.monotonic() > deadline:
            return
        time.sleep(0.005)


def remove(folder: Path) -> None:
    """Removes an empty cgroup and those within it."""
    deadline = time.monotonic() + END_S
    while True:
        try:
            for inner in reversed(within(folder)[1:]):
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


def end_of(prefix: str, parents: Iterable[Path]) -> bool:
    """Ends and removes every cgroup whose name begins so; whether there was one."""
    found: dict[str, list[Path]] = {}
    for parent in parents:
        for folder in parent.glob(f"{prefix}*"):
            found.setdefault(folder.name, []).append(folder)
    for folders in found.values():  # those of one child together: one of them may be what has it frozen
        kill(folders)
        for folder in folders:
            remove(folder)
    return bool(found)


def remove_leftovers(parents: Iterable[Path]) -> None:
    """Removes the cgroups of supervisors that no longer live, and ends what still runs, or is frozen, there."""
    mine, parents = prefix_of(), list(parents)
    names = {folder.name for parent in parents for folder in parent.glob(f"{mine}*")}
    for owner in {name.removeprefix(mine).split("-")[0] for name in names}:
        if owner.isdigit() and not Path("/proc", owner).exists():
            end_of(prefix_of(int(owner)), parents)


def prefix_of(pid: int | None = None) -> str:
    """How names begin. A number of a process says nothing outside of its PID namespace, so that is in it, too."""
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    return f"diffharness-{namespace}-" + ("" if pid is None else f"{pid}-")


def write(path: Path, value: int | str) -> None:
    """Writes to a file that the kernel offers. Raises OSError."""
    # Without O_CREAT: what the kernel does not offer must fail, and not become a file.
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)


def value(path: Path, key: str) -> int:
    """The number after a key in a file of lines "key number"; -1 where there is none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return -1
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{key} ")), -1)


def within(folder: Path) -> list[Path]:
    """A cgroup and all within it, those above first."""
    found = [folder, folder / INNER]
    for inner in found[1:]:
        with contextlib.suppress(OSError):
            if inner.stat().st_nlink > 2:  # it has folders; listing its files would take longer than all the rest
                found += [Path(name) for name, _, _ in os.walk(inner) if name != str(inner)]
    return found


def pids(folder: Path) -> list[int]:
    """The processes in one cgroup, without those within it."""
    try:
        return [
            pid for pid in map(int, (folder / "cgroup.procs").read_text().split()) if pid
        ]  # 0: of another namespace
    except OSError:
        return []
