"""What a child does to itself at its very start, before any thread and any module of others: none of it can be undone.

Its supervisor writes down a Confinement, and hands it over as an argument; the child applies it. Limits in every tier;
outside of bwrap a filter of system calls, too, a small one in the tier `process`; in the tier `landlock` also Landlock
and the loss of every capability.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import resource
import signal
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors import landlock, seccomp

if TYPE_CHECKING:  # a child has no use for the words of the driver and the actor
    from actors.messages import Limits

# What libraries, CUDA's among them, read of /proc beside a process's own folder there.
PROC = (
    "cpuinfo",
    "devices",
    "driver/nvidia",
    "filesystems",
    "loadavg",
    "meminfo",
    "modules",
    "stat",
    "sys",
    "uptime",
    "version",
)
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
GRACE_S = 5  # from the signal at the end of the CPU time to the kill, which cannot be handled
PR_CAPBSET_DROP = 24  # linux/prctl.h
LINUX_CAPABILITY_VERSION_3 = 0x20080522  # linux/capability.h

_pinned: list[int] = []  # descriptors that must stay open, see _own_proc


@dataclass(frozen=True)
class Confinement:
    """The limits of a child's processes, and outside of namespaces what it may open."""

    tier: str
    processes: int  # of its user, threads included
    open_files: int
    file_bytes: int
    cpu_s: float
    readable: tuple[str, ...] = ()  # of the tier landlock, as the rest
    hidden: tuple[str, ...] = ()  # within what is readable
    writable: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()

    @classmethod
    def of(cls, tier: str, limits: Limits) -> Confinement:
        """The limits alone."""
        processes = limits.processes + (0 if tier == "bwrap" else tasks_of(os.getuid()))
        return cls(tier, processes, limits.open_files, limits.file_bytes, limits.cpu_s)

    def to_argument(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_argument(cls, text: str) -> Confinement:
        """What `to_argument` wrote."""
        fields = json.loads(text).items()
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in fields}
        return cls(**values)

    def apply(self) -> None:
        """Confines this process and all that it starts. Raises OSError, and RuntimeError where it has threads."""
        threads = len(list(Path("/proc/self/task").iterdir()))
        if threads > 1:
            raise RuntimeError(f"{threads} threads run already, and only the calling one would be confined")
        reset_signals()
        self._limit()
        seccomp.forbid_new_privileges()
        if self.tier == "process":
            if landlock.keeps_signals():
                landlock.keep_signals()
            with contextlib.suppress(OSError):  # this tier works without a filter, too
                seccomp.install(seccomp.program_of_process())
        if self.tier == "landlock":
            drop_capabilities()
            landlock.restrict(self._grants())
            alone = None if landlock.keeps_signals() else os.getpid()
            seccomp.install(seccomp.program(namespaces=False, signals_of=alone, cuda=bool(self.devices)))

    def _limit(self) -> None:
        """Hard limits, so that nothing here can raise them again; a lower one that is there already stays."""
        cpu_s = math.ceil(self.cpu_s)
        wanted = {
            resource.RLIMIT_NOFILE: (self.open_files, self.open_files),
            resource.RLIMIT_FSIZE: (self.file_bytes, self.file_bytes),
            resource.RLIMIT_CPU: (cpu_s, cpu_s + GRACE_S),
            resource.RLIMIT_CORE: (0, 0),
            resource.RLIMIT_NPROC: (self.processes, self.processes),
        }
        for kind, (soft, hard) in wanted.items():
            most = resource.getrlimit(kind)[1]
            if most != resource.RLIM_INFINITY:
                soft, hard = min(soft, most), min(hard, most)
            resource.setrlimit(kind, (soft, hard))

    def _grants(self) -> list[landlock.Grant]:
        return [
            *(grant for path in self.readable for grant in reading(path, self.hidden)),
            *((path, landlock.WRITE) for path in self.writable),
            *((path, landlock.DEVICE) for path in (*DEVICES, *self.devices)),
            *((path, landlock.READ) for path in own_proc()),
            (f"/proc/{os.getpid()}", landlock.WRITE_FILE | landlock.TRUNCATE),  # CUDA names its threads there
        ]


def reading(path: str, hidden: Iterable[str]) -> list[landlock.Grant]:
    """The grants to read all beneath `path` but what is hidden: Landlock only adds, so a hidden folder's neighbours are
    named one by one, and its own name can still be listed.
    """
    root = Path(path).resolve()
    inside = [place for place in map(Path, hidden) if place.resolve().is_relative_to(root)]
    if not inside:
        return [(path, landlock.READ)]
    if any(place.resolve() == root for place in inside):
        return []
    entries = sorted(root.iterdir()) if root.is_dir() else []
    return [(path, landlock.LIST), *(grant for entry in entries for grant in reading(str(entry), hidden))]


def own_proc() -> list[str]:
    """What to show of /proc: what the machine is, and this process's own folder.

    Under memory pressure the kernel forgets an entry of /proc, and makes a new one that no rule names; not one that is
    open, so these stay open.
    """
    paths = [path for path in (*(f"/proc/{name}" for name in PROC), f"/proc/{os.getpid()}") if Path(path).exists()]
    _pinned.extend(os.open(path, os.O_PATH | os.O_CLOEXEC) for path in paths)
    return paths


def reset_signals() -> None:
    """Gives every signal its usual effect and blocks none: a Ray worker ignores and blocks some, and hands that on."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def drop_capabilities() -> None:
    """Gives up every capability, and those that a program could bring with it: root is then a user like others.

    Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for number in range(64):
        if libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            break  # past the last one, or an ordinary user, who has none to give up
    header = (ctypes.c_uint32 * 2)(LINUX_CAPABILITY_VERSION_3, 0)
    if libc.capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def tasks_of(user: int) -> int:
    """The threads that a user has on this machine; 0 for root, whom their number does not limit."""
    if user == 0:
        return 0
    count = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.stat().st_uid == user:
                count += (folder / "task").stat().st_nlink - 2
        except OSError:
            continue  # it has just ended
    return count
