"""What a child and all that it started use of the machine, read from outside: /proc, and the folders that it fills."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS_S = 1 / os.sysconf("SC_CLK_TCK")
MOST_ENTRIES = 100_000  # of a folder that is walked; a cache of compiled kernels has thousands
MOST_LEVELS = 64  # of folders in folders; a path takes the kernel longer to follow with each


@dataclass(frozen=True)
class Process:
    """One process. `started` is in clock ticks since the machine's start; with the number it is never given twice."""

    pid: int
    parent: int
    started: int
    threads: int
    cpu_s: float  # of all its threads, ended ones included
    resident_bytes: int
    reaped_cpu_s: float = 0.0  # of what it started and has waited for


class Hidden(Exception):
    """A folder holds what cannot be counted."""


def read_process(pid: int) -> Process | None:
    """A process as /proc/<pid>/stat has it (proc_pid_stat(5)); None once it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  (read often; half the time of Path)
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    field = text[text.rindex(b")") + 2 :].split()  # from the third one on; the second may hold anything
    cpu_s = (int(field[11]) + int(field[12])) * TICKS_S
    reaped_cpu_s = (int(field[13]) + int(field[14])) * TICKS_S
    return Process(pid, int(field[1]), int(field[19]), int(field[17]), cpu_s, int(field[21]) * PAGE, reaped_cpu_s)


class Tree:
    """A process and its descendants. One that its parents left behind is no longer among them."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._root = read_process(pid)
        self._others: set[int] = set()  # processes of the machine that were seen not to be among them: not read again

    def forget(self) -> None:
        """Has the next look read every process: the number of one that was no member may have been given again."""
        self._others = set()

    def members(self) -> list[Process]:
        """Those that live now."""
        listed = {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208  (100 of them are listed in 50 us)
        self._others &= listed
        read = {pid: process for pid in listed - self._others if (process := read_process(pid)) is not None}
        root = read.get(self.pid)
        if root is None or self._root is None or root.started != self._root.started:
            return []
        belongs: dict[int, bool] = {0: False, **dict.fromkeys(self._others, False), self.pid: True}
        for pid in read:
            line = []
            while pid not in belongs and pid in read:
                line.append(pid)
                pid = read[pid].parent
            if pid in belongs:  # else an ancestor came or went during the reading: it is seen the next time
                belongs |= dict.fromkeys(line, belongs[pid])
        self._others |= {pid for pid in read if belongs.get(pid) is False}
        return [process for pid, process in read.items() if belongs.get(pid)]


def memory_use(processes: Sequence[Process], files_bytes: int, enough: int) -> int:
    """Bytes of memory that processes and their files in memory (`files_bytes`) use together.

    Shared pages count once for each process that has them, unless that comes to more than `enough`: then every page
    counts by its share, which takes the kernel longer to say. A page of a file in memory that is mapped as well counts
    once.
    """
    resident = sum(process.resident_bytes for process in processes)
    if resident + files_bytes <= enough:
        return resident + files_bytes
    resident = anonymous = 0
    for process in processes:
        with contextlib.suppress(OSError), open(f"/proc/{process.pid}/smaps_rollup", "rb") as file:  # noqa: PTH123
            sizes = {line.split()[0]: int(line.split()[1]) * 1024 for line in file.readlines()[1:]}
            resident += sizes[b"Pss:"]
            anonymous += sizes[b"Pss_Anon:"]
    return max(resident, anonymous + files_bytes)


def folder_use(folder: str, enough: int) -> int:
    """Bytes on the disk of all files under a folder; it stops counting above `enough`. Links are not followed.

    Raises Hidden for more than MOST_ENTRIES entries or MOST_LEVELS levels, and for a folder that cannot be looked into.
    """
    used, entries, waiting = 0, 0, [(folder, 0)]
    while waiting and used <= enough:
        path, level = waiting.pop()
        if level > MOST_LEVELS:
            raise Hidden(f"has folders more than {MOST_LEVELS} levels deep")
        try:
            with os.scandir(path) as found:
                for entry in found:
                    entries += 1
                    if entries > MOST_ENTRIES:
                        raise Hidden(f"has more than {MOST_ENTRIES:,} files")
                    with contextlib.suppress(FileNotFoundError):  # it went away meanwhile; the rest still counts
                        status = entry.stat(follow_symlinks=False)
                        used += status.st_blocks * 512
                        if stat.S_ISDIR(status.st_mode):
                            waiting.append((entry.path, level + 1))
        except (FileNotFoundError, NotADirectoryError):
            continue  # it went away meanwhile
        except OSError as error:
            raise Hidden(f"cannot be looked into ({error.strerror})") from error
    return used


def deleted_use(pids: Iterable[int]) -> Counter[int]:
    """Bytes of files that have no name any more, or never had one (memfd_create), and that processes hold open.

    Under the number of the file system that they are in (`st_dev`).
    """
    sizes: dict[tuple[int, int], int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
                with contextlib.suppress(OSError):
                    status = os.stat(f"/proc/{pid}/fd/{name}")  # noqa: PTH116
                    if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
                        sizes[status.st_dev, status.st_ino] = status.st_blocks * 512
    used: Counter[int] = Counter()
    for (device, _), size in sizes.items():
        used[device] += size
    return used


def mounted_use(inside: int, folder: str) -> tuple[int, int]:
    """Bytes used and free of the file system that a process sees at a folder. Raises OSError once it is gone."""
    size = os.statvfs(f"/proc/{inside}/root{folder}")
    return (size.f_blocks - size.f_bfree) * size.f_frsize, size.f_bfree * size.f_frsize
