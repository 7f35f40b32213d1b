"""A child that is not asked anything stands still, whatever it does about it: by each means that this machine has.

Every rogue here ends by itself within a minute.
"""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from actors import cgroup, guard, standstill
from actors.cgroup import FREEZE_S
from actors.cgroup_files import FREEZERS, prefix_of
from actors.messages import Status
from actors.sandbox import GONE_S, Child, ChildFailure
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
def work():
    begun = time.process_time()
    while time.process_time() - begun < 0.22: pass
def forked(what):
    if os.fork() == 0:
        what()
        os._exit(0)
"""
THREADS = "for _ in range(2): threading.Thread(target=spin, daemon=True).start()\n"
ORPHANS = "def leave():\n    os.setsid()\n    forked(spin)\nforked(leave)\n"
# timer_create(2) with CLOCK_MONOTONIC and SIGEV_SIGNAL, and timer_settime(2), a millisecond apart.
TIMER = """
signal.signal(signal.SIGCONT, lambda *_: None)
class Event(ctypes.Structure):
    _fields_ = [("value", ctypes.c_void_p), ("number", ctypes.c_int), ("notify", ctypes.c_int)]
    _fields_ += [("rest", ctypes.c_char * 48)]
call, made = ctypes.CDLL(None, use_errno=True).syscall, ctypes.c_int()
assert call(222, 1, ctypes.byref(Event(None, signal.SIGCONT, 0)), ctypes.byref(made)) == 0
assert call(223, made, 0, (ctypes.c_long * 4)(0, 10**6, 0, 10**6), None) == 0
"""
HELPER = """
def wake():
    while time.monotonic() < UNTIL: os.killpg(0, signal.SIGCONT)
forked(wake)
"""
SYSTEM_CALL = """
def write():
    files, data = os.memfd_create("x"), bytes(10**7)
    while time.monotonic() < UNTIL: os.pwrite(files, data, 0)
threading.Thread(target=write, daemon=True).start()
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
    "processes": "forked(spin)\n",
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
    return forced(request.param, monkeypatch)


@pytest.fixture(params=FROZEN)
def frozen_by(request, monkeypatch):
    """The same of freezers."""
    return forced(request.param, monkeypatch)


def forced(kind: str, monkeypatch) -> str:
    monkeypatch.setattr(cgroup, "SERVING", KINDS[kind])
    if cgroup.freezer() != kind:
        pytest.skip(f"{kind}: this machine has no such freezer that can be used")
    return kind


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


def goes_on(child: Child) -> bool:
    """Whether a child that was let go on uses the CPU, on a machine that may be busy."""
    deadline, before = time.monotonic() + 10, child.cpu_s()
    while child.cpu_s() < before + 0.1 and time.monotonic() < deadline:
        time.sleep(0.05)
    return child.cpu_s() >= before + 0.1


def test_what_is_frozen_uses_no_cpu_whatever_it_tries(tier, frozen_by):
    with Child(tier, spec_for(tier), Device("cpu"), QUICK) as child:
        failure = load(child, "".join(ROGUES.values()) + "time.sleep(0.1)\n")
        assert failure.status is Status.NO_PIPELINE, failure
        assert used(child, PAUSED_S) < 0.001
        child.resume()
        assert goes_on(child)
        child.pause()
        assert used(child, PAUSED_S) < 0.001


@pytest.mark.parametrize("name", ROGUES)
def test_what_signals_do_not_stop_is_seen(name, monkeypatch):
    forced("signals", monkeypatch)
    with Child("process", spec_for("process"), Device("cpu"), QUICK) as child:
        failure = load(child, ROGUES[name] + "time.sleep(0.1)\n")
        hard = name in ("a timer", "a relay")  # a signal to stop takes the one to go on away, and with it most timers
        if failure.status is not Status.UNSTOPPABLE or not hard:
            assert failure.status is Status.NO_PIPELINE, failure
            begun = stretches(child)
            leaked = used(child, PAUSED_S)
            assert (leaked > 0.02) == (stretches(child) != begun), "a process that ran has its ticks"
            assert leaked < 0.02 or hard
            child.resume()
            assert goes_on(child)


def stretches(child: Child) -> dict[int, bytes]:
    """How long each of its threads ran, by the kernel's finest count."""
    return standstill.look(child.pids())[0]


def test_the_time_of_the_cpu_is_all_that_it_used(tier, kind):
    with Child(tier, spec_for(tier), Device("cpu"), QUICK) as child:
        load(child, "")
        before = child.cpu_s()
        load(child, "forked(work)\nwork()\nos.wait()")
        assert 0.4 <= child.cpu_s() - before < 1
        assert child.cpu_resolution_s == (1e-6 if kind in FROZEN else pytest.approx(0.01, rel=1))
    after = child.cpu_s()
    assert after >= before
    assert child.cpu_s() == after, "also once it has ended"


def test_what_has_ended_is_still_counted(kind):
    with Child("process", spec_for("process"), Device("cpu"), QUICK) as child:
        load(child, "forked(work)\nos.wait()")
        counted = child.cpu_s()
        assert counted >= 0.2
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
        load(child, "")
        took = []
        for _ in range(5):
            child.resume()
            begun = time.perf_counter()
            child.pause()
            took.append(time.perf_counter() - begun)
    assert sorted(took)[2] < (0.05 if kind in FROZEN else 0.25)  # signals wait for each thread's turn on a busy machine


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
    pids = [str(pid) for pid in child.pids()]
    begun = time.monotonic()
    child.end()
    while left(pids):
        assert time.monotonic() - begun < GONE_S


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
    assert len(pids) >= 2
    assert not left(pids)
    folders = [found.parent for found in cgroup.usable()]
    while kind == "cgroup v1" and any([*folder.glob(f"{prefix_of(supervisor.pid)}*")] for folder in folders):
        assert time.monotonic() < deadline + 2, "the guard removes them"


def left(pids: list[str]) -> list[str]:
    """Those that still are there, and not as zombies alone: whose parent may be nobody who waits for them."""
    found = []
    for pid in pids:
        with suppress(OSError):
            state = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0]
            found += [] if state == "Z" else [pid]
    return found


def test_one_guard_is_enough_and_a_lost_one_is_replaced(monkeypatch, tmp_path):
    monkeypatch.setattr(guard, "_running", None)
    guard.require_guard("nothing-", [tmp_path])
    owner, leash, life = guard._running
    guard.require_guard("nothing-", [tmp_path])
    assert guard._running == (owner, leash, life)
    os.close(leash)  # it takes this process for ended
    deadline = time.monotonic() + 10
    while not guard._is_hung_up(life) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert guard._is_hung_up(life)
    monkeypatch.setattr(guard, "_running", (owner, os.dup(life), life))
    guard.require_guard("nothing-", [tmp_path])
    assert not guard._is_hung_up(guard._running[2])
    for fd in guard._running[1:]:
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
