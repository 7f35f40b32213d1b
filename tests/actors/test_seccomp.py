"""The filter: its numbers against the kernel's own tables, and what it does to a process."""

import errno
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from actors import seccomp

HEADERS = {
    "x86_64": [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")],
    "aarch64": [Path("/usr/include/asm-generic/unistd.h")],
}
DATA = struct.Struct("<IIQ6Q")  # struct seccomp_data


def outcome(filter_: bytes, machine: str, number: int, *arguments: int, arch: int | None = None) -> int:
    """What the filter answers, by a reading of BPF of our own."""
    arch = seccomp.AUDIT_ARCH[machine] if arch is None else arch
    data = DATA.pack(number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    rows = list(struct.iter_unpack("<HBBI", filter_))
    place = value = 0
    while True:
        code, if_true, if_false, operand = rows[place]
        place += 1
        if code == seccomp.LOAD:
            value = struct.unpack_from("<I", data, operand)[0]
        elif code == seccomp.AND:
            value &= operand
        elif code == seccomp.RETURN:
            return operand
        else:
            holds = {
                seccomp.EQUALS: value == operand,
                seccomp.AT_LEAST: value >= operand,
                seccomp.HAS_BITS: bool(value & operand),
            }[code]
            place += if_true if holds else if_false


@pytest.mark.parametrize("machine", seccomp.AUDIT_ARCH)
def test_the_numbers_are_the_kernels(machine):
    header = next((path for path in HEADERS[machine] if path.exists()), None)
    if header is None:
        pytest.skip("the kernel's headers are not installed")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\b", header.read_text())
    official = {name: int(number) for name, number in found}
    column = list(seccomp.AUDIT_ARCH).index(machine)
    ours = {name: numbers[column] for table in seccomp.TABLES for name, numbers in table.items()}
    # An older header does not know the newest ones, which have the same number everywhere.
    assert {name: number for name, number in ours.items() if official.get(name, number) != number} == {}
    assert not [name for name, number in ours.items() if number is None and name in official]
    assert len(ours.keys() & official.keys()) > 80


@pytest.mark.parametrize("machine", seccomp.AUDIT_ARCH)
@pytest.mark.parametrize("namespaces", [True, False])
class TestAnswers:
    def answer(self, machine, namespaces, name, *arguments):
        column = list(seccomp.AUDIT_ARCH).index(machine)
        number = next(table[name] for table in seccomp.TABLES if name in table)[column]
        return outcome(seccomp.program(namespaces, machine=machine), machine, number, *arguments)

    @pytest.mark.parametrize("name", ["ptrace", "mount", "bpf", "io_uring_setup", "keyctl", "setns", "clock_settime"])
    def test_what_reaches_beyond_the_sandbox_is_refused(self, machine, namespaces, name):
        assert self.answer(machine, namespaces, name) == seccomp.REFUSE

    def test_new_processes_and_threads_are_fine_and_new_namespaces_are_not(self, machine, namespaces):
        sigchld, clone_newuser, clone_newnet = 17, 0x10000000, 0x40000000
        assert self.answer(machine, namespaces, "clone", sigchld) == seccomp.ALLOW
        for flag in (clone_newuser, clone_newnet, 0x20000):
            assert self.answer(machine, namespaces, "clone", sigchld | flag) == seccomp.REFUSE
        assert self.answer(machine, namespaces, "clone3") == seccomp.ABSENT

    def test_a_terminal_is_given_no_characters(self, machine, namespaces):
        assert self.answer(machine, namespaces, "ioctl", 0, 0x5412) == seccomp.REFUSE
        assert self.answer(machine, namespaces, "ioctl", 0, 0xC020462A) == seccomp.ALLOW  # one of the GPU driver's

    def test_sockets(self, machine, namespaces):
        unix, inet, netlink, packet, vsock = 1, 2, 16, 17, 40
        allowed = seccomp.ALLOW if namespaces else seccomp.REFUSE
        for family in (unix, inet):
            assert self.answer(machine, namespaces, "socket", family, 1) == allowed
        assert self.answer(machine, namespaces, "socket", netlink, 3, 0) == allowed
        assert self.answer(machine, namespaces, "socket", netlink, 3, 9) == seccomp.REFUSE
        for family in (packet, vsock, 38):
            assert self.answer(machine, namespaces, "socket", family, 1) == seccomp.REFUSE
        assert self.answer(machine, namespaces, "socketpair", unix, 1 | 0x80000) == seccomp.ALLOW
        assert self.answer(machine, namespaces, "socketpair", unix, 2) == allowed

    def test_other_processes_keep_their_priority_and_their_limits(self, machine, namespaces):
        if namespaces:
            pytest.skip("a PID namespace hides them")
        for name in ("prlimit64", "sched_setparam", "sched_setscheduler"):
            assert self.answer(machine, namespaces, name, 0) == seccomp.ALLOW
            assert self.answer(machine, namespaces, name, 1234) == seccomp.REFUSE
        assert self.answer(machine, namespaces, "setpriority", 0, 0) == seccomp.ALLOW
        assert self.answer(machine, namespaces, "setpriority", 2, 0) == seccomp.REFUSE

    @pytest.mark.parametrize("upper_half", [0, 2**32])
    def test_of_fcntl_what_reaches_others_is_unknown(self, machine, namespaces, upper_half):
        f_dupfd, f_setlkw, f_setown, f_ofd_setlk, f_add_seals = 0, 7, 8, 37, 1033
        for command in (f_dupfd, f_setlkw, f_ofd_setlk, f_add_seals):
            assert self.answer(machine, namespaces, "fcntl", 3, command + upper_half) == seccomp.ALLOW
        f_getlk, f_ofd_getlk, f_setlease, f_notify, f_set_rw_hint, not_yet = 5, 36, 1024, 1026, 1036, 1099
        for command in (f_getlk, f_ofd_getlk, f_setlease, f_notify, f_set_rw_hint, not_yet):
            assert self.answer(machine, namespaces, "fcntl", 3, command + upper_half) == seccomp.UNKNOWN
        owned = seccomp.ALLOW if namespaces else seccomp.UNKNOWN  # Landlock before Linux 6.12 lets its signals through
        assert self.answer(machine, namespaces, "fcntl", 3, f_setown + upper_half) == owned
        allowed = seccomp.ALLOW if namespaces else seccomp.REFUSE
        assert self.answer(machine, namespaces, "ioctl", 3, seccomp.FIOSETOWN) == allowed

    def test_cpus_are_set_for_show(self, machine, namespaces):
        assert self.answer(machine, namespaces, "sched_setaffinity", 1234, 8, 0x7F0000000000) == seccomp.PRETEND
        assert self.answer(machine, namespaces, "sched_setaffinity", 0, 8, 0x1000) == seccomp.PRETEND
        assert self.answer(machine, namespaces, "sched_setaffinity", 0, 8, 0) == seccomp.BAD_ADDRESS
        assert self.answer(machine, namespaces, "sched_setattr", 0) == seccomp.REFUSE

    def test_hints_on_pages_are_not_followed(self, machine, namespaces):
        assert self.answer(machine, namespaces, "fadvise64", 3, 0, 0, 4) == seccomp.PRETEND
        dontneed, pageout, nowait = 4, 21, 8
        assert self.answer(machine, namespaces, "madvise", 0, 0, dontneed) == seccomp.ALLOW
        assert self.answer(machine, namespaces, "madvise", 0, 0, pageout) == seccomp.PRETEND
        assert self.answer(machine, namespaces, "preadv2", 3, 0, 0, 0, 0, 0) == seccomp.ALLOW
        assert self.answer(machine, namespaces, "preadv2", 3, 0, 0, 0, 0, nowait) == seccomp.UNSUPPORTED
        for name in ("mincore", "cachestat"):
            assert self.answer(machine, namespaces, name) == seccomp.ABSENT

    def test_other_processors_and_calls_that_are_not_known_yet(self, machine, namespaces):
        filter_ = seccomp.program(namespaces, machine=machine)
        assert outcome(filter_, machine, 0, arch=0x40000003) == seccomp.KILL  # 32 bits
        assert outcome(filter_, machine, 0x40000000 + 41) == seccomp.ABSENT  # x32
        assert outcome(filter_, machine, seccomp.NEWEST + 1) == seccomp.ABSENT


def test_signals_reach_the_process_itself_alone_where_landlock_cannot_keep_them_in():
    filter_ = seccomp.program(namespaces=False, signals_of=77, machine="x86_64")
    kill = seccomp.SIGNALS["kill"][0]
    assert [outcome(filter_, "x86_64", kill, pid) for pid in (77, 0)] == [seccomp.ALLOW] * 2
    assert [outcome(filter_, "x86_64", kill, pid) for pid in (78, 2**32 - 1)] == [seccomp.REFUSE] * 2


def test_cuda_may_wait_at_a_unix_socket_and_nobody_calls():
    def answer(name, *arguments):
        number = next(table[name] for table in seccomp.TABLES if name in table)[0]
        return outcome(seccomp.program(namespaces=False, cuda=True, machine="x86_64"), "x86_64", number, *arguments)

    unix, inet, stream, datagram, seqpacket, cloexec = 1, 2, 1, 2, 5, 0x80000
    assert answer("socket", unix, seqpacket | cloexec, 0) == seccomp.ALLOW
    assert answer("bind") == seccomp.ALLOW
    refused = [(unix, stream), (unix, datagram), (inet, seqpacket), (inet, stream)]
    assert [answer("socket", *one) for one in refused] == [seccomp.REFUSE] * 4
    assert answer("connect") == seccomp.REFUSE


@pytest.mark.parametrize("machine", seccomp.AUDIT_ARCH)
def test_the_tier_process_has_the_part_that_every_tier_has_and_no_io_uring(machine):
    filter_, column = seccomp.program_of_process(machine), list(seccomp.AUDIT_ARCH).index(machine)
    numbers = {name: pair[column] for table in seccomp.TABLES for name, pair in table.items()}
    assert outcome(filter_, machine, numbers["fcntl"], 3, 1024) == seccomp.UNKNOWN
    assert outcome(filter_, machine, numbers["sched_setaffinity"], 0, 8, 1) == seccomp.PRETEND
    assert outcome(filter_, machine, numbers["io_uring_setup"]) == seccomp.REFUSE
    assert outcome(filter_, machine, numbers["ptrace"]) == seccomp.ALLOW


def test_another_processor_is_refused_with_its_name():
    assert seccomp.problem("riscv64") is not None
    with pytest.raises(OSError, match="riscv64"):
        seccomp.program(True, machine="riscv64")


needs_filter = pytest.mark.skipif(seccomp.problem() is not None, reason=str(seccomp.problem()))


@needs_filter
@pytest.mark.parametrize("namespaces", [True, False])
def test_a_process_under_the_filter_is_refused_and_lives_on(namespaces):
    number = seccomp.NUMBERS["ptrace"][list(seccomp.AUDIT_ARCH).index(os.uname().machine)]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import ctypes, subprocess, threading\nfrom actors import seccomp\n"
            f"seccomp.install(seccomp.program({namespaces}))\n"
            "libc = ctypes.CDLL(None, use_errno=True)\n"
            f"print(libc.syscall({number}, 0, 0, 0, 0), ctypes.get_errno())\n"
            "thread = threading.Thread(target=print, args=('a thread',)); thread.start(); thread.join()\n"
            "print(subprocess.run(['echo', 'a process'], capture_output=True).stdout)",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [f"-1 {errno.EPERM}", "a thread", "b'a process\\n'"], done.stderr
