"""Landlock: a process gives up its own access to files, TCP ports, sockets and signals, and nothing gives it back.

Needs no rights and no namespaces; what the kernel can hold depends on its Landlock version. It does not know of UDP, of
Unix sockets with a path, nor of a file's mode and times: `actors.seccomp` takes those. Sources: landlock(7),
linux/landlock.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterable, Iterator

from actors.seccomp import forbid_new_privileges

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same numbers on every processor
GET_VERSION = 1
PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE = 1 << 4, 1 << 5
MAKE_DIR, MAKE_REG, MAKE_FIFO, MAKE_SYM = 1 << 7, 1 << 8, 1 << 10, 1 << 12
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
FIRST = (1 << 13) - 1  # what the first version holds
FILES_SINCE = {2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}  # version -> what it holds besides
TCP_SINCE, TCP = 4, 1 | 1 << 1  # binding and connecting
SCOPES_SINCE, ABSTRACT_SOCKETS, SIGNALS = 6, 1, 1 << 1
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # the others make sense for folders only

LIST = READ_DIR
READ = EXECUTE | READ_FILE | READ_DIR
# No device files and no sockets.
WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_FIFO | MAKE_SYM | REFER | TRUNCATE
DEVICE = READ_FILE | WRITE_FILE | IOCTL_DEV

Grant = tuple[str, int]  # a path, and what may be done to it and to all beneath it


class _RulesetAttr(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


def version() -> int:
    """The kernel's Landlock version (its ABI); 0 where it has none, or where it was not switched on."""
    try:
        return _call(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(GET_VERSION))
    except OSError:
        return 0


def keeps_signals() -> bool:
    """Whether the kernel can keep a process's signals within what it started itself."""
    return version() >= SCOPES_SINCE


def restrict(grants: Iterable[Grant], known: int | None = None) -> None:
    """Leaves the calling thread, and all that it starts, what the grants name of the files, and nothing else.

    Neither TCP ports nor abstract sockets nor signals to other processes, where the kernel's version holds them. Paths
    that do not exist are passed over. `known` takes an older version for granted than the kernel has. Raises OSError.
    """
    found = version() if known is None else known
    if found < 1:
        raise OSError(errno.ENOSYS, "the kernel has no Landlock")
    files = FIRST
    for since, right in FILES_SINCE.items():
        files |= right if found >= since else 0
    net = TCP if found >= TCP_SINCE else 0
    scoped = ABSTRACT_SOCKETS | SIGNALS if found >= SCOPES_SINCE else 0
    with _ruleset(files, net, scoped) as ruleset:
        for path, rights in grants:
            _allow(ruleset, path, rights & files)


def keep_signals() -> None:
    """Leaves the calling thread, and all that it starts, no process to signal but those that it starts.

    Raises OSError, also where the kernel cannot hold that.
    """
    with _ruleset(0, 0, SIGNALS):
        pass


@contextlib.contextmanager
def _ruleset(files: int, net: int, scoped: int) -> Iterator[int]:
    """A new set of rules; put into force, unless its block raises."""
    attributes = _RulesetAttr(files, net, scoped)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    ruleset = _call(CREATE_RULESET, ctypes.byref(attributes), size, ctypes.c_uint32(0))
    try:
        yield ruleset
        forbid_new_privileges()
        _call(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= OF_A_FILE
        rule = _PathBeneathAttr(rights, fd)
        _call(ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(PATH_BENEATH), ctypes.byref(rule), ctypes.c_uint32(0))
    finally:
        os.close(fd)


def _call(number: int, *arguments: object) -> int:
    result = int(ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"Landlock: {os.strerror(code)}")
    return result
