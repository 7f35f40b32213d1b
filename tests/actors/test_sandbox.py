"""Real children, in every tier that this machine has: what an honest one answers, and how each bad one ends."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace

import psutil
import pytest

from actors import limits
from actors.messages import Batch, Limits, SandboxSpec, Side, Status
from actors.sandbox import GONE_S, Child, ChildFailure, SandboxError, choose_tier, tier_problem
from actors.side import LoadedSide
from actors.tiers import TIERS, Device
from tests.actors.inside import ALL_TIERS, QUICK, load_and_leave, seen, spec_for
from tests.actors.model_files import HONEST, honest_but, model_file

BATCH = Batch(("a", "b"), (1, 2))


@pytest.fixture(params=ALL_TIERS)
def tier(request):
    return request.param


@pytest.fixture
def any_tier():
    """The strongest one, for what does not depend on the tier."""
    return next(tier for tier in TIERS if tier_problem(tier) is None)


def attempt(tier: str, source: str, limits: Limits = QUICK, spec: SandboxSpec | None = None):
    """Loads a model file in a child of its own and calls it once."""
    with Child(tier, spec or spec_for(tier, preimports=("torch",)), Device("cpu"), limits) as child:
        side = LoadedSide.load(Side.CANDIDATE, child, model_file(source))
        return side.call(BATCH, 0, 0, "call_s")


def test_an_honest_file_answers_with_its_pixels_and_both_clocks(tier):
    row, pixels = attempt(tier, HONEST)
    assert pixels.shape == (2, 16, 16, 3)
    assert set(pixels.flat) == {128}
    assert 0 < row.device_s < row.wall_s < 60
    assert row.images == 2


def test_the_configured_call_reaches_the_pipeline(any_tier):
    with Child(any_tier, spec_for(any_tier, preimports=("torch",)), Device("cpu"), QUICK) as child:
        side = LoadedSide.load(Side.CANDIDATE, child, model_file(HONEST, brightness=1.0))
        _, pixels = side.call(BATCH, 0, 0, "call_s")
    assert set(pixels.flat) == {255}


def test_a_child_stands_still_while_it_is_not_asked(tier):
    ticking = honest_but(
        top="import threading, time\nticks = 0\n"
        "def tick():\n    global ticks\n    while True:\n        ticks += 1\n        time.sleep(0.01)",
        load="threading.Thread(target=tick, daemon=True).start()",
        call="time.sleep(0.2)\nbrightness = ticks / 255",
    )
    with Child(tier, spec_for(tier, preimports=("torch",)), Device("cpu"), QUICK) as child:
        side = LoadedSide.load(Side.CANDIDATE, child, model_file(ticking))
        first = int(side.call(BATCH, 0, 0, "call_s")[1].flat[0])
        time.sleep(1.2)
        second = int(side.call(BATCH, 0, 0, "call_s")[1].flat[0])
        before = child.cpu_s()
        time.sleep(0.2)
        assert child.cpu_s() - before <= child.cpu_resolution_s
    assert 5 < second - first < 60, "the 0.2 s of the call, and not the 1.2 s before it"


def test_a_paused_child_goes_on_with_its_imports_when_it_is_waited_for(tier):
    with Child(tier, spec_for(tier, preimports=("torch",)), Device("cpu"), QUICK) as child:
        child.pause()
        time.sleep(0.2)
        child.wait_ready()


def test_two_processes_of_one_file_have_the_same_allocator(any_tier):
    source = honest_but(call="import os\nraise RuntimeError(os.environ['MALLOC_MMAP_THRESHOLD_'])")
    with pytest.raises(ChildFailure, match=str(2**30)):
        attempt(any_tier, source)


SHORT = Limits(start_s=120, load_s=4, warmup_s=4, call_s=4, output_bytes=200_000)
BEHAVIOURS = {
    "raises in load": (honest_but(load="raise KeyError('weights')"), Status.LOAD_ERROR, "weights"),
    "load_pipe returns None": ("def load_pipe(): pass", Status.NO_PIPELINE, "returned None"),
    "exits in the call": (honest_but(call="import os; os._exit(3)"), Status.EXITED, "code 3"),
    "takes all memory, says torch": (
        honest_but(call="raise torch.OutOfMemoryError('CUDA out of memory')"),
        Status.OUT_OF_MEMORY,
        "out of memory",
    ),
}


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_bad_behaviour_has_a_status_of_its_own(any_tier, name):
    """A few of which tests/rogues has none; it holds the others."""
    source, status, said = BEHAVIOURS[name]
    with pytest.raises(ChildFailure) as caught:
        attempt(any_tier, source, SHORT)
    assert caught.value.status is status, caught.value
    assert said in caught.value.detail


def test_a_file_is_compiled_as_an_import_would(any_tier):
    source = honest_but(load="def f(x: int): pass\nraise ValueError(f.__annotations__)")
    with pytest.raises(ChildFailure, match="class 'int'"):
        attempt(any_tier, source)


def test_without_a_generator_the_global_one_is_seeded(any_tier):
    source = honest_but() + "\ndef pipe_forward(pipe, prompts):\n    return torch.rand(len(prompts), 3, 4, 4)"
    assert (attempt(any_tier, source)[1] == attempt(any_tier, source)[1]).all()


def test_a_traceback_shows_the_candidates_own_line(any_tier):
    with pytest.raises(ChildFailure) as caught:
        attempt(any_tier, honest_but(call="undefined_name  # the culprit"))
    assert "the culprit" in caught.value.log
    assert "/nowhere/candidate.py" in caught.value.log


def test_what_a_child_raises_and_prints_is_escaped(any_tier):
    with pytest.raises(ChildFailure) as caught:
        attempt(any_tier, honest_but(load="print('\\x1b[31mred', flush=True)\nraise ValueError('\\x1b[2J\\u202e')"))
    assert r"ValueError: \x1b[2J\u202e" in caught.value.detail
    assert r"\x1b[31mred" in caught.value.log
    assert "\x1b" not in caught.value.log
    assert len(caught.value.log.splitlines()) > 1


def test_what_was_printed_before_an_answer_is_in_its_log(monkeypatch, any_tier):
    monkeypatch.setattr(Child, "_drain_output", lambda child: None)  # the thread that reads is late
    with pytest.raises(ChildFailure) as caught:
        attempt(any_tier, honest_but(load="print('a hint', flush=True)\nraise ValueError('why')"))
    assert "a hint" in caught.value.log


# Leaves its session, is forked twice, and writes its number into the folder that a test names.
ESCAPES = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sh", ["sh", "-c", "sleep 60; : {marker}"])
    os._exit(0)
os.wait()
"""


def escaping() -> tuple[str, str]:
    """The source of what escapes, and what its command line holds, whatever its number is outside of a namespace."""
    marker = f"diffharness-test-{os.getpid()}-{time.monotonic_ns()}"
    return ESCAPES.replace("{marker}", marker), marker


def carrying(marker: str) -> list[int]:
    return [p.pid for p in psutil.process_iter(["cmdline"]) if marker in " ".join((p.info["cmdline"] or ())[2:3])]


def wait_for(marker: str, there: bool, seconds: float) -> bool:
    """Whether processes with the marker are there, or are gone, within that time."""
    deadline = time.monotonic() + seconds
    while bool(carrying(marker)) is not there:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("end", ["hangs", "is killed", "exits", "floods"])
def test_nothing_that_a_child_started_outlives_it(tier, end):
    source, marker = escaping()
    after = {
        "hangs": "time.sleep(60)",
        "is killed": "os.kill(os.getpid(), 9)",
        "exits": "os._exit(0)",
        "floods": "while True: print('spam' * 1000)",
    }
    with Child(tier, spec_for(tier), Device("cpu"), SHORT) as child:
        load_and_leave(child, source + f"time.sleep(1)\n{after[end]}")
    assert wait_for(marker, there=False, seconds=GONE_S)


@pytest.mark.parametrize("tier", ["landlock", "process"])
def test_a_warden_that_stands_still_is_helped(tier, monkeypatch):
    if problem := tier_problem(tier):
        pytest.skip(problem)
    monkeypatch.setattr(limits, "make_cgroup", lambda *_: None)  # which would end them, too
    source, marker = escaping()
    with Child(tier, spec_for(tier), Device("cpu"), QUICK) as child:
        child.wait_ready()
        asked = {"path": "/nowhere/x.py", "call": {}, "steps": None}
        child._channel.send({**asked, "op": "load", "nonce": "x"}, f"{source}time.sleep(60)".encode())
        assert wait_for(marker, there=True, seconds=60)
        os.kill(child.process.pid, signal.SIGSTOP)  # as where Landlock is too old a child can
    assert wait_for(marker, there=False, seconds=GONE_S)


SUPERVISOR = """
import sys, threading
from actors.sandbox import Child, ChildFailure
from actors.tiers import TIERS, Device
from tests.actors.inside import QUICK, spec_for
tier, paused, source = sys.argv[1:]
child = Child(tier, spec_for(tier), Device("cpu"), QUICK)
asked = {"path": "/nowhere/x.py", "call": {}, "steps": None}
child.wait_ready()
child._channel.send({**asked, "op": "load", "nonce": "x"}, source.encode())
for line in sys.stdin:
    child.pause()
    print("paused", flush=True)
"""


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
def test_nothing_outlives_a_supervisor_that_is_killed(tier, paused):
    source, marker = escaping()
    command = [sys.executable, "-c", SUPERVISOR, tier, str(paused), f"{source}time.sleep(60)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as supervisor:
        try:
            assert wait_for(marker, there=True, seconds=60)
            if paused:
                supervisor.stdin.write("pause\n")
                supervisor.stdin.flush()
                supervisor.stdout.readline()
        finally:
            supervisor.kill()
    assert wait_for(marker, there=False, seconds=GONE_S)


def test_the_time_of_the_cpu_is_a_limit_of_its_own(tier):
    limits, asked = replace(QUICK, cpu_s=1), {"path": "x", "call": {}, "steps": None}
    with Child(tier, spec_for(tier), Device("cpu"), limits) as child, pytest.raises(ChildFailure) as caught:
        child.ask("load", "load_s", asked, b"while True: pass")
    assert caught.value.status is Status.RESOURCE_LIMIT
    assert "limits.cpu_s" in caught.value.detail


def test_a_working_folder_is_removed_however_deep_it_is(tier, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # other tests have working folders, too
    deep = "import os\nfor _ in range(3000):\n    os.mkdir('d')\n    os.chdir('d')\n1 / 0"
    with Child(tier, spec_for(tier), Device("cpu"), QUICK) as child, pytest.raises(ChildFailure) as caught:
        LoadedSide.load(Side.CANDIDATE, child, model_file(deep))
        assert bool(list(tmp_path.iterdir())) == (tier != "bwrap"), "its folder, on this machine's disk"
    # There it is too deep to be looked into, which is as bad as too full, if it is looked at in time.
    assert caught.value.status in (Status.LOAD_ERROR, *([] if tier == "bwrap" else [Status.RESOURCE_LIMIT]))
    assert not list(tmp_path.iterdir())


def test_a_models_name_is_a_folder_where_the_file_runs(tier, tmp_path):
    (tmp_path / "weights").write_text("w")
    assert seen(tier, "os.listdir('some/model')", spec=spec_for(tier, models={"some/model": str(tmp_path)})) == [
        "weights"
    ]


def test_a_tier_that_does_not_exist_is_refused_with_the_mend():
    with pytest.raises(SandboxError, match=r"sandbox\.tiers"):
        choose_tier(["gvisor"])


def test_a_weaker_tier_is_never_taken_unasked(monkeypatch):
    monkeypatch.setattr("actors.sandbox.tier_problem", lambda tier: None if tier == "process" else "not today")
    with pytest.raises(SandboxError, match="not today"):
        choose_tier(["bwrap"])
    with pytest.raises(SandboxError, match="not today"):
        choose_tier(["landlock"])
    assert choose_tier(["bwrap", "landlock", "process"]) == "process"
