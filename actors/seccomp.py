"""A filter of system calls for what namespaces and Landlock leave open: seccomp's classic BPF, as bytes.

The filter refuses what a model file has no use for and what reaches beyond its sandbox: other processes' memory,
mounts, namespaces, io_uring (which would pass every other rule by), the kernel's keys, clocks and modules. Sockets are
taken away as far as nothing else holds them. Calls newer than this table do not exist for a child, so it does not age.

A part of it is for every tier (`_everywhere`): a file that two children can read carries no message by a lease, a lock
that is asked for, or a hint, and no child leaves the CPUs that it was put on.

Sources: seccomp(2), linux/seccomp.h, linux/filter.h; numbers from asm/unistd_64.h (x86_64) and asm-generic/unistd.h
(aarch64), of Linux 6.18.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Sequence

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
NEWEST = 469  # the last number of Linux 6.18; numbers of x32 lie above it, too

# Numbers on x86_64 and aarch64; None: there is no such call.
NUMBERS: dict[str, tuple[int | None, int | None]] = {
    # other processes, and the kernel's ways of looking at everything
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "perf_event_open": (298, 241),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "fanotify_init": (300, 262),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "syslog": (103, 116),
    "lookup_dcookie": (212, 18),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # mounts and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    # the machine
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "reboot": (169, 142),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "vhangup": (153, 58),
    "nfsservctl": (180, 42),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "_sysctl": (156, None),
}
# Refused only where no namespaces hold them. Landlock knows nothing of a file's mode, owner, times and attributes;
# System V's and POSIX's shared objects outlive a process.
WITHOUT_NAMESPACES: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "truncate": (76, 45),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "semctl": (66, 191),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
}
# Of another process of the same user these would change the speed or the limits: only 0, the caller, may be named.
OF_ITSELF: dict[str, tuple[int | None, int | None]] = {
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "prlimit64": (302, 261),
}
# Refused where Landlock is too old to keep signals in: to others than the process itself.
SIGNALS: dict[str, tuple[int | None, int | None]] = {"kill": (62, 129), "tgkill": (234, 131)}
OTHER_SIGNALS: dict[str, tuple[int | None, int | None]] = {
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
}
# Looked at by their arguments.
EXAMINED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "clone": (56, 220),
    "clone3": (435, 435),
    "ioctl": (16, 29),
    "fcntl": (72, 25),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "fadvise64": (221, 223),
    "madvise": (28, 233),
    "mincore": (27, 232),
    "cachestat": (451, 451),
    "io_setup": (206, 0),
    "io_submit": (209, 2),
    "preadv2": (327, 286),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
}
TABLES = (NUMBERS, WITHOUT_NAMESPACES, OF_ITSELF, SIGNALS, OTHER_SIGNALS, EXAMINED)

CLONE_NEW = 0x7E020000  # every CLONE_NEW* flag that clone(2) takes, linux/sched.h
TIOCSTI, TIOCLINUX = 0x5412, 0x541C  # put characters into a terminal, asm-generic/ioctls.h
FIOSETOWN, SIOCSPGRP = 0x8901, 0x8902  # as F_SETOWN, asm-generic/sockios.h
# What fcntl still does: all of Linux 6.18 (asm-generic/fcntl.h, linux/fcntl.h) but F_GETLK (5) and F_OFD_GETLK (36),
# which tell of others' locks on a file that can only be read; leases and delegations (1024, 1025, 1039, 1040), which
# make others wait; F_NOTIFY (1026); and F_SET_RW_HINT (1036) and F_SET_FILE_RW_HINT (1038), which leave a number in the
# inode until the kernel forgets it.
FCNTL = (0, 1, 2, 3, 4, 6, 7, *range(8, 18), 37, 38, 1027, 1028, 1029, 1030, 1031, 1032, 1033, 1034, 1035, 1037)
F_SETOWN, F_SETSIG, F_SETOWN_EX = 8, 10, 15  # whom a file sends signals to, and which
MADV_COLD, MADV_PAGEOUT = 20, 21  # asm-generic/mman-common.h
RWF_NOWAIT, RWF_DONTCACHE = 0x8, 0x80  # linux/fs.h
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16  # linux/socket.h; the module socket costs a child's start 5 ms
SOCK_STREAM, SOCK_SEQPACKET, SOCK_TYPE_MASK = 1, 5, 0xF  # linux/net.h
NETLINK_ROUTE = 0  # what getifaddrs asks

# linux/bpf_common.h, and where struct seccomp_data has what
LOAD, EQUALS, AT_LEAST, HAS_BITS, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
NR, ARCH, ARGUMENTS = 0, 4, 16
ALLOW, KILL = 0x7FFF0000, 0x80000000
ERRNO = 0x00050000
REFUSE, ABSENT = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS
PRETEND = ERRNO  # nothing is done, and the caller is told that it was
UNKNOWN, BAD_ADDRESS, UNSUPPORTED = ERRNO | errno.EINVAL, ERRNO | errno.EFAULT, ERRNO | errno.EOPNOTSUPP
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2  # linux/prctl.h

Row = tuple[int, int, int, int]  # code, how many rows to skip if true, if false, operand
ALLOWED: list[Row] = [(RETURN, 0, 0, ALLOW)]


def problem(machine: str | None = None) -> str | None:
    """Why there is no filter for this machine's processor; None where there is one."""
    machine = machine or os.uname().machine
    known = ", ".join(AUDIT_ARCH)
    return None if machine in AUDIT_ARCH else f"the table of system calls knows {known}, and not {machine}"


def program(namespaces: bool, signals_of: int | None = None, cuda: bool = False, machine: str | None = None) -> bytes:
    """The filter, as an array of struct sock_filter.

    namespaces: whether a network, an IPC and a PID namespace hold what they can, as in the tier bwrap; without them
    there is no socket at all but pairs, and for `cuda` Unix sockets that wait to be called. signals_of: the one
    process, by its number, that may be sent signals (and its group); None leaves signals to others. Raises OSError for
    a processor that the tables do not know.
    """
    return _assembled(_bodies(namespaces, signals_of, cuda), machine)


def program_of_process(machine: str | None = None) -> bytes:
    """The filter of the tier `process`: what every tier refuses, and io_uring, which could set a thread's CPUs.

    Raises OSError for a processor that the tables do not know.
    """
    by_it = [name for name in NUMBERS if name.startswith("io_uring_")]
    return _assembled([*_everywhere(), *((name, [(RETURN, 0, 0, REFUSE)]) for name in by_it)], machine)


def _assembled(bodies: Iterable[tuple[str, list[Row]]], machine: str | None) -> bytes:
    machine = machine or os.uname().machine
    if (why := problem(machine)) is not None:
        raise OSError(errno.ENOSYS, why)
    column = list(AUDIT_ARCH).index(machine)
    rows: list[Row] = [
        (LOAD, 0, 0, ARCH),
        (EQUALS, 1, 0, AUDIT_ARCH[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NR),
        (AT_LEAST, 0, 1, NEWEST + 1),
        (RETURN, 0, 0, ABSENT),
    ]
    for name, body in bodies:
        number = next(table[name] for table in TABLES if name in table)[column]
        if number is not None:
            rows += [(EQUALS, 0, len(body), number), *body]
    rows.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("<HBBI", *row) for row in rows)


def _everywhere(owners: bool = True) -> list[tuple[str, list[Row]]]:
    """What every tier does with calls by which one child can reach another, or leave its CPUs.

    owners: whether a file may be given a process to send signals to.
    """
    commands = [command for command in FCNTL if owners or command not in (F_SETOWN, F_SETSIG, F_SETOWN_EX)]
    no_mask = [*_load(2), (EQUALS, 0, 3, 0), *_load(2, upper=True), (EQUALS, 0, 1, 0), (RETURN, 0, 0, BAD_ADDRESS)]
    return [
        # EINVAL is what a kernel, or a file system, says to a command that it does not know: whoever asks for a lease
        # or for F_OFD_GETLK is prepared for it.
        ("fcntl", _one_of(1, commands, ALLOW, UNKNOWN)),
        # A library that pins its threads, and would stop where it could not, goes on. No mask is how Intel's OpenMP
        # asks whether there is such a call: it expects EFAULT.
        ("sched_setaffinity", [*no_mask, (RETURN, 0, 0, PRETEND)]),
        ("sched_setattr", [(RETURN, 0, 0, REFUSE)]),
        # What is read by all shall not be thrown out of memory by one, who then reads from it what another read. The
        # first two are hints, which need not be followed; mincore and cachestat are missing in some kernels.
        ("fadvise64", [(RETURN, 0, 0, PRETEND)]),
        ("madvise", _one_of(2, (MADV_COLD, MADV_PAGEOUT), PRETEND, ALLOW)),
        ("mincore", [(RETURN, 0, 0, ABSENT)]),
        ("cachestat", [(RETURN, 0, 0, ABSENT)]),
        # Asynchronous input and output goes on while its process is frozen; some kernels are built without it.
        ("io_setup", [(RETURN, 0, 0, ABSENT)]),
        ("io_submit", [(RETURN, 0, 0, ABSENT)]),
        ("preadv2", [*_load(5), (HAS_BITS, 0, 1, RWF_NOWAIT | RWF_DONTCACHE), (RETURN, 0, 0, UNSUPPORTED), *ALLOWED]),
    ]


def _bodies(namespaces: bool, signals_of: int | None, cuda: bool) -> list[tuple[str, list[Row]]]:
    """What is done with each call that is not just allowed; every body ends in a return."""
    refuse: list[Row] = [(RETURN, 0, 0, REFUSE)]
    bodies = [(name, refuse) for name in NUMBERS]
    bodies += _everywhere(owners=namespaces)
    bodies.append(("clone", [*_load(0), (HAS_BITS, 0, 1, CLONE_NEW), *refuse, (RETURN, 0, 0, ALLOW)]))
    # Its flags lie in memory, where no filter can look; without it glibc takes clone.
    bodies.append(("clone3", [(RETURN, 0, 0, ABSENT)]))
    owners = () if namespaces else (FIOSETOWN, SIOCSPGRP)
    bodies.append(("ioctl", _one_of(1, (TIOCSTI, TIOCLINUX, *owners), REFUSE, ALLOW)))
    if namespaces:
        bodies.append(("socketpair", _one_of(0, (AF_UNIX,), ALLOW, REFUSE)))
        netlink = _all_equal({2: NETLINK_ROUTE})
        families = _one_of(0, (AF_UNIX, AF_INET, AF_INET6), ALLOW, REFUSE)
        bodies.append(("socket", [*_load(0), (EQUALS, 0, len(netlink), AF_NETLINK), *netlink, *families]))
        return bodies
    # One end of a pair of datagram sockets could send to any socket that has a path.
    bodies.append(("socketpair", _one_of(1, (SOCK_STREAM, SOCK_SEQPACKET), ALLOW, REFUSE, mask=SOCK_TYPE_MASK)))
    if cuda:  # it binds one to a name of its own, and does not start without; no child can connect to it
        seqpacket = _one_of(1, (SOCK_SEQPACKET,), ALLOW, REFUSE, mask=SOCK_TYPE_MASK)
        bodies.append(("socket", [*_load(0), (EQUALS, 1, 0, AF_UNIX), *refuse, *seqpacket]))
    bodies += [(name, refuse) for name in WITHOUT_NAMESPACES if not (cuda and name in ("socket", "bind"))]
    bodies += [(name, _all_equal({0: 0})) for name in OF_ITSELF]
    bodies += [(name, _all_equal({0: which, 1: 0})) for name, which in (("setpriority", 0), ("ioprio_set", 1))]
    if signals_of is not None:
        bodies += [(name, _one_of(0, (0, signals_of), ALLOW, REFUSE)) for name in SIGNALS]
        bodies += [(name, refuse) for name in OTHER_SIGNALS]
    return bodies


def _load(argument: int, upper: bool = False) -> list[Row]:
    """Takes the lower half of an argument, or the upper one, which matters for addresses alone: the others are ints."""
    return [(LOAD, 0, 0, ARGUMENTS + 8 * argument + 4 * upper)]


def _one_of(argument: int, values: Sequence[int], then: int, otherwise: int, mask: int = 0xFFFFFFFF) -> list[Row]:
    tests: list[Row] = [(EQUALS, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [*_load(argument), (AND, 0, 0, mask), *tests, (RETURN, 0, 0, otherwise), (RETURN, 0, 0, then)]


def _all_equal(wanted: dict[int, int]) -> list[Row]:
    rows: list[Row] = []
    for argument, value in wanted.items():
        rows += [*_load(argument), (EQUALS, 1, 0, value), (RETURN, 0, 0, REFUSE)]
    return [*rows, (RETURN, 0, 0, ALLOW)]


def as_file(filter_: bytes) -> int:
    """A descriptor from which the filter can be read once, as `bwrap --seccomp` wants it; the caller closes it."""
    fd = os.memfd_create("seccomp")
    os.write(fd, filter_)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


class _SockFprog(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("rows", ctypes.c_char_p)]


def install(filter_: bytes) -> None:
    """Puts the calling thread, and every process and thread that it starts from now on, under the filter for good.

    Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    described = _SockFprog(len(filter_) // 8, filter_)
    forbid_new_privileges()
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(described), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel takes no seccomp filter")


def forbid_new_privileges() -> None:
    """No program that this process starts gains rights by its file: neither setuid nor file capabilities."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
