"""A child that is not asked anything stands still, whatever it does about it: by each means that this machine has.

Every rogue here ends by itself within a minute.
"""

import os
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from actors import cgroup, guard, standstill
from actors.cgroup import FREEZE_S
from actors.cgroup_files import FREEZERS, prefix_of
from actors.messages import Status
from actors.sandbox import Child, ChildFailure
from actors.tiers import Device
from tests.actors.inside import ALL_TIERS, QUICK, spec_for

KINDS = {"cgroup v2": (2,), "cgroup v1": (1,), "signals": ()}
FROZEN = ("cgroup v2", "cgroup v1")
PAUSED_S = 0.5

START = """
import ctypes, mmap, os, signal, threading, time
UNTIL = time.monotonic() + 40
def spin():
    while time.monotonic() < UNTIL: pass
def forked(work):
    if os.fork() == 0:
        work()
        os._exit(0)
"""
THREADS = "for _ in range(4): threading.Thread(target=spin, daemon=True).start()\n"
ORPHANS = "def leave():\n    os.setsid()\n    forked(spin)\nfor _ in range(3): forked(leave)\n"
# timer_create(2) with CLOCK_MONOTONIC and SIGEV_SIGNAL, and timer_settime(2), a millisecond apart.
TIMER = """
class Event(ctypes.Structure):
    _fields_ = [("value", ctypes.c_void_p), ("number", ctypes.c_int), ("notify", ctypes.c_int), ("rest", ctypes.c_char * 48)]
call, made = ctypes.CDLL(None, use_errno=True).syscall, ctypes.c_int()
assert call(222, 1, ctypes.byref(Event(None, signal.SIGCONT, 0)), ctypes.byref(made)) == 0
assert call(223, made, 0, (ctypes.c_long * 4)(0, 10**6, 0, 10**6), None) == 0
"""
HELPER = """
def wake():
    while time.monotonic() < UNTIL: os.killpg(0, signal.SIGCONT)
for _ in range(2): forked(wake)
"""
SYSTEM_CALL = """
def write():
    files, data = os.memfd_create("x"), bytes(2 * 10**7)
    while time.monotonic() < UNTIL: os.pwrite(files, data, 0)
for _ in range(2): threading.Thread(target=write, daemon=True).start()
"""
RELAY = """
def relay():
    while time.monotonic() < UNTIL:
        end = time.perf_counter() + 0.002
        while time.perf_counter() < end: pass
        if os.fork(): os._exit(0)
forked(relay)
"""
ROGUES = {
    "threads": THREADS,
    "processes": "for _ in range(3): forked(spin)\n",
    "orphans": ORPHANS,
    "a timer": THREADS + TIMER,
    "a helper": THREADS + HELPER,
    "a system call": SYSTEM_CALL,
    "a relay": RELAY,
}


@pytest.fixture(params=ALL_TIERS)
def tier(request):
    return request.param


@pytest.fixture(params=KINDS)
def kind(request, monkeypatch):
    """What stops children: each means, as if the machine had no better one."""
    monkeypatch.setattr(cgroup, "SERVING", KINDS[request.param])
    if cgroup.freezer() != request.param:
        pytest.skip(f"{request.param}: this machine has no such freezer that can be used")
    return request.param


def load(child: Child, source: str) -> ChildFailure:
    """Has a child run a source that makes no pipeline; it lives on, and has been stopped since its answer."""
    with pytest.raises(ChildFailure) as caught:
        child.ask("load", "load_s", {"path": "/nowhere/x.py", "call": {}, "steps": None}, (START + source).encode())
    return caught.value


def used(child: Child, seconds: float) -> float:
    """The time of the CPU that a child uses meanwhile."""
    before = child.cpu_s()
    time.sleep(seconds)
    return child.cpu_s() - before


@pytest.mark.parametrize("name", ROGUES)
def test_what_stands_still_uses_no_cpu(tier, kind, name):
    with Child(tier, spec_for(tier), Device("cpu"), QUICK) as child:
        failure = load(child, ROGUES[name] + "time.sleep(0.1)\n")
        if failure.status is Status.UNSTOPPABLE:
            assert kind == "signals"
            assert name in ("a timer", "a relay")
            assert "did not stand still within 1 s" in failure.detail
            return
        assert failure.status is Status.NO_PIPELINE, failure
        leaked = used(child, PAUSED_S)
        if kind in FROZEN:
            assert leaked < 0.001
        else:
            assert leaked <= 0.03 or name == "a relay", "what leaks is seen"
        child.resume()
        assert used(child, PAUSED_S) > 0.1, "it went on"


def test_the_time_of_the_cpu_is_all_that_it_used(tier, kind):
    with Child(tier, spec_for(tier), Device("cpu"), QUICK) as child:
        load(child, "")
        before = child.cpu_s()
        load(child, "UNTIL = time.monotonic() + 1\nfor _ in range(2): forked(time.process_time)\nspin()\nos.wait()")
        assert 0.2 < child.cpu_s() - before < 3
        assert child.cpu_resolution_s == (1e-6 if kind in FROZEN else pytest.approx(0.01, rel=1))
    after = child.cpu_s()
    assert after >= before
    assert child.cpu_s() == after, "also once it has ended"


def test_what_has_ended_is_still_counted(kind):
    with Child("process", spec_for("process"), Device("cpu"), QUICK) as child:
        load(child, "UNTIL = time.monotonic() + 0.5\nforked(spin)\nos.wait()")
        counted = child.cpu_s()
        assert counted > 0.2
        os.kill(child.pids()[0], 9)
        child.resume()
        child.process.wait(timeout=10)
        assert child.cpu_s() >= counted


def test_a_child_that_is_stopped_while_it_starts_goes_on(tier, kind):
    with Child(tier, spec_for(tier), Device("cpu"), QUICK) as child:
        child.pause()
        time.sleep(0.2)
        child.wait_ready()


def test_stopping_is_quick_and_its_time_is_not_the_calls(tier, kind):
    with Child(tier, spec_for(tier), Device("cpu"), QUICK) as child:
        load(child, THREADS)
        took = []
        for _ in range(5):
            child.resume()
            begun = time.perf_counter()
            child.pause()
            took.append(time.perf_counter() - begun)
    assert sorted(took)[2] < 0.05


def test_what_does_not_stand_still_is_ended(tier, kind, monkeypatch):
    monkeypatch.setattr("actors.limits.FREEZE_S", 0.2)
    if kind == "signals":
        monkeypatch.setattr(standstill, "STILL", b"Z")
    else:
        monkeypatch.setattr(type(FREEZERS[2]), "is_frozen", lambda self, folder: False)
    with Child(tier, spec_for(tier), Device("cpu"), QUICK) as child:
        failure = load(child, ROGUES["orphans"])
        assert (failure.status, kind in failure.detail) == (Status.UNSTOPPABLE, True), failure
        assert child.process.wait(timeout=2) is not None
        assert used(child, 0.2) == 0


def test_a_frozen_child_ends_at_once(tier, kind):
    child = Child(tier, spec_for(tier), Device("cpu"), QUICK)
    load(child, ORPHANS)
    pids = child.pids()
    begun = time.monotonic()
    child.end()
    assert time.monotonic() - begun < 2
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


SUPERVISOR = """
import os, sys
from actors import cgroup
from tests.actors import test_standing_still as tests
cgroup.SERVING = tests.KINDS[sys.argv[1]]
child = tests.Child(sys.argv[2], tests.spec_for(sys.argv[2]), tests.Device("cpu"), tests.QUICK)
tests.load(child, tests.ORPHANS)
print(*child.pids(), flush=True)
sys.stdin.read()
"""


def test_a_frozen_child_does_not_outlive_a_supervisor_that_is_killed(tier, kind):
    command = [sys.executable, "-c", SUPERVISOR, kind, tier]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as supervisor:
        pids = supervisor.stdout.readline().split()
        supervisor.kill()
    deadline = time.monotonic() + 2
    while left(pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(pids) >= 4
    assert not left(pids)
    if kind == "cgroup v1":
        folders = [found.parent for found in cgroup.usable()]
        assert not [path for folder in folders for path in folder.glob(f"{prefix_of(supervisor.pid)}*")]


def left(pids: list[str]) -> list[str]:
    """Those that still are there, and not as zombies alone: whose parent may be nobody who waits for them."""
    found = []
    for pid in pids:
        with suppress(OSError), open(f"/proc/{pid}/stat") as file:
            found += [] if file.read().rpartition(")")[2].split()[0] == "Z" else [pid]
    return found


class TestGuard:
    def test_one_is_enough_and_a_lost_one_is_replaced(self, monkeypatch, tmp_path):
        monkeypatch.setattr(guard, "_running", None)
        guard.require_guard("nothing-", [tmp_path])
        first = guard._running
        guard.require_guard("nothing-", [tmp_path])
        assert guard._running == first
        os.close(first[0])  # it takes this process for ended
        deadline = time.monotonic() + 10
        while not guard._is_hung_up(first[1]) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert guard._is_hung_up(first[1])
        monkeypatch.setattr(guard, "_running", (os.dup(first[1]), first[1]))
        guard.require_guard("nothing-", [tmp_path])
        assert not guard._is_hung_up(guard._running[1])
        for fd in guard._running:
            os.close(fd)


def test_the_kernels_count_of_processes_ended_for_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(cgroup, "VMSTAT", tmp_path / "vmstat")
    monkeypatch.setattr(cgroup, "own_folders", lambda: {"": tmp_path})
    assert cgroup.oom_kills() is None
    (tmp_path / "memory.events").write_text("oom 5\noom_kill 3\n")
    assert cgroup.oom_kills() == 3
    (tmp_path / "vmstat").write_text("pgfree 9\noom_kill 7\n")
    assert cgroup.oom_kills() == 7


def test_two_looks_must_find_that_nothing_ran(monkeypatch):
    looks = iter([({1: b"5"}, 1), ({1: b"6"}, 0), ({1: b"7"}, 0), ({1: b"7"}, 0)])
    monkeypatch.setattr(standstill, "look", lambda pids: next(looks))
    assert standstill.stop(set, FREEZE_S) is None
    assert next(looks, None) is None
