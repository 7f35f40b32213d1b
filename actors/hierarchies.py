"""Where cgroups may be made on this machine, and what the cgroups that this process is in allow it.

Version 1 (hierarchies of their own for `memory`, `pids`, `freezer` and `cpuacct`) and version 2 (one for all of it). In
version 2 a cgroup that holds processes cannot hand its controllers down, so an actor's own one serves for `memory` and
`pids` only at the root, and its parent where that has both switched on and may be written to. Freezing and counting
need no controller there: any cgroup serves that may be written to.
Source: the kernel's admin-guide/cgroup-v1 and admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from actors.cgroup_files import value, write

MOUNTS = Path("/proc/self/mountinfo")
OWN = Path("/proc/self/cgroup")
CONTROLLERS = ("memory", "pids")
SERVICES = ("freezer", "cpuacct")  # by their names in version 1; in version 2 every cgroup has both


@dataclass(frozen=True)
class Hierarchy:
    """A folder in which a child's cgroup can be made, and what cgroups there can do."""

    parent: Path
    version: int
    controllers: tuple[str, ...]  # of CONTROLLERS and SERVICES


def hierarchies() -> Iterator[Hierarchy]:
    """Where a cgroup may be made, at or beside this process's own one, and what for; not tried yet."""
    version_1: dict[Path, tuple[str, ...]] = {}
    version_2: list[Path] = []
    for controllers, folder in own_folders().items():
        if controllers:
            version_1[folder] = tuple(name for name in CONTROLLERS + SERVICES if name in controllers.split(","))
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
