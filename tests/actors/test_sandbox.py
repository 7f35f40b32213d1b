"""Real children, in every tier that this machine has: what an honest one answers, and how each bad one ends."""

import os
import time
from pathlib import Path

import psutil
import pytest

from actors.messages import Batch, Limits, SandboxSpec, Side, Status
from actors.sandbox import Child, ChildFailure, Device, SandboxError, bwrap_command, choose_tier, tier_problem
from actors.side import LoadedSide
from tests.actors.model_files import HONEST, honest_but, model_file

BATCH = Batch(("a", "b"), (1, 2))
QUICK = Limits(start_s=120, load_s=60, warmup_s=60, call_s=60, output_bytes=200_000)

without_bwrap = pytest.mark.skipif(tier_problem("bwrap") is not None, reason=str(tier_problem("bwrap")))
TIERS = [pytest.param("bwrap", marks=without_bwrap), "process"]


@pytest.fixture(params=TIERS)
def tier(request):
    return request.param


def spec_for(tier: str, **changes) -> SandboxSpec:
    return SandboxSpec(**{"tiers": (tier,), "models": {}, "threads": 1, "preimports": ("torch",), **changes})


def attempt(tier: str, source: str, limits: Limits = QUICK, spec: SandboxSpec | None = None):
    """Loads a model file in a child of its own and calls it once."""
    with Child(tier, spec or spec_for(tier), Device("cpu"), limits) as child:
        side = LoadedSide.load(Side.CANDIDATE, child, model_file(source))
        return side.call(BATCH, 0, 0, "call_s")


def test_an_honest_file_answers_with_its_pixels_and_both_clocks(tier):
    row, pixels = attempt(tier, HONEST)
    assert pixels.shape == (2, 16, 16, 3)
    assert set(pixels.flat) == {128}
    assert 0 < row.device_s < row.wall_s < 60
    assert row.images == 2


def test_the_configured_call_reaches_the_pipeline(tier):
    with Child(tier, spec_for(tier), Device("cpu"), QUICK) as child:
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
    with Child(tier, spec_for(tier), Device("cpu"), QUICK) as child:
        side = LoadedSide.load(Side.CANDIDATE, child, model_file(ticking))
        first = int(side.call(BATCH, 0, 0, "call_s")[1].flat[0])
        time.sleep(1.2)
        second = int(side.call(BATCH, 0, 0, "call_s")[1].flat[0])
        deadline = time.perf_counter() + 5  # a signal takes its time on a busy machine
        while time.perf_counter() < deadline:
            states = {psutil.Process(pid).status() for pid in child.pids()}
            if states == {psutil.STATUS_STOPPED}:
                break
    assert 5 < second - first < 60, "the 0.2 s of the call, and not the 1.2 s before it"
    assert states == {psutil.STATUS_STOPPED}


def test_a_paused_child_goes_on_with_its_imports_when_it_is_waited_for(tier):
    with Child(tier, spec_for(tier), Device("cpu"), QUICK) as child:
        child.pause()
        time.sleep(0.2)
        child.wait_ready()


def test_two_processes_of_one_file_have_the_same_allocator(tier):
    source = honest_but(call="import os\nraise RuntimeError(os.environ['MALLOC_MMAP_THRESHOLD_'])")
    with pytest.raises(ChildFailure, match=str(2**30)):
        attempt(tier, source)


SHORT = Limits(start_s=120, load_s=4, warmup_s=4, call_s=4, output_bytes=200_000)
BEHAVIOURS = {
    "raises at import": (honest_but(top="1 / 0"), Status.LOAD_ERROR, "ZeroDivisionError"),
    "raises in load": (honest_but(load="raise KeyError('weights')"), Status.LOAD_ERROR, "weights"),
    "raises in the call": (honest_but(call="raise RuntimeError('no luck')"), Status.CALL_ERROR, "no luck"),
    "no pipeline": ("x = 1", Status.NO_PIPELINE, "load_pipe"),
    "load_pipe returns None": ("def load_pipe(): pass", Status.NO_PIPELINE, "returned None"),
    "exits in load": (honest_but(load="import sys; sys.exit(0)"), Status.EXITED, "code 0"),
    "exits in the call": (honest_but(call="import os; os._exit(3)"), Status.EXITED, "code 3"),
    "segmentation fault": (
        honest_but(call="import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"),
        Status.KILLED,
        "SIGSEGV",
    ),
    "hangs in load": (honest_but(load="import time; time.sleep(1000)"), Status.TIMEOUT, "4 s (limits.load_s)"),
    "hangs in the call": (honest_but(call="while True: pass"), Status.TIMEOUT, "4 s (limits.call_s)"),
    "prints without end": (honest_but(call="while True: print('spam' * 1000)"), Status.OUTPUT_FLOOD, "200,000"),
    "one image too few": (honest_but(call="prompt = prompt[1:]"), Status.BAD_IMAGES, "1 images for 2 prompts"),
    "no image": (honest_but(call="return 'a lovely picture'"), Status.BAD_IMAGES, "str"),
    "not a number": (honest_but(call="brightness = float('nan')"), Status.BAD_IMAGES, "NaN"),
    "takes all memory, says torch": (
        honest_but(call="raise torch.OutOfMemoryError('CUDA out of memory')"),
        Status.OUT_OF_MEMORY,
        "out of memory",
    ),
    "answers before it is asked": (
        honest_but(
            call="import json, os, struct\n"
            "head = {'shape': [2, 1, 1, 3], 'device_s': 1e-9, 'denoiser_calls': 1, 'peak_memory_bytes': None}\n"
            "head = json.dumps(head)\n"
            "for fd in range(3, 64):\n"
            "    try: os.write(fd, struct.pack('>IQ', len(head), 6) + head.encode() + bytes(6))\n"
            "    except OSError: pass"
        ),
        Status.BAD_ANSWER,
        "not asked",
    ),
    "writes to every descriptor": (
        honest_but(
            call="import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'\\x00' * 5000)\n    except OSError: pass"
        ),
        Status.BAD_ANSWER,
        "generate",
    ),
}


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_each_bad_behaviour_has_a_status_of_its_own(tier, name):
    source, status, said = BEHAVIOURS[name]
    with pytest.raises(ChildFailure) as caught:
        attempt(tier, source, SHORT)
    assert caught.value.status is status, caught.value
    assert said in caught.value.detail


def test_a_file_is_compiled_as_an_import_would(tier):
    source = honest_but(load="def f(x: int): pass\nraise ValueError(f.__annotations__)")
    with pytest.raises(ChildFailure, match="class 'int'"):
        attempt(tier, source)


def test_without_a_generator_the_global_one_is_seeded(tier):
    source = honest_but() + "\ndef pipe_forward(pipe, prompts):\n    return torch.rand(len(prompts), 3, 4, 4)"
    assert (attempt(tier, source)[1] == attempt(tier, source)[1]).all()


def test_a_traceback_shows_the_candidates_own_line(tier):
    with pytest.raises(ChildFailure) as caught:
        attempt(tier, honest_but(call="undefined_name  # the culprit"))
    assert "the culprit" in caught.value.log
    assert "/nowhere/candidate.py" in caught.value.log


@pytest.mark.parametrize("end", ["sleeps", "is killed"])
def test_nothing_that_a_child_started_outlives_it(tier, end):
    marker = f"diffharness-test-{os.getpid()}-{time.monotonic_ns()}"
    start = f"import subprocess; subprocess.Popen(['sh', '-c', 'sleep 600; : {marker}'])"
    after = "import time; time.sleep(600)" if end == "sleeps" else "import os; os.kill(os.getpid(), 9)"
    if tier == "process" and end == "is killed":
        pytest.skip("the tier `process` loses sight of orphans")
    with pytest.raises(ChildFailure):
        attempt(tier, honest_but(call=f"{start}\n{after}"), SHORT)
    time.sleep(0.5)
    assert not [p.pid for p in psutil.process_iter(["cmdline"]) if marker in " ".join(p.info["cmdline"] or ())]


@without_bwrap
class TestWhatBwrapHides:
    def seen(self, expression: str, spec: SandboxSpec | None = None) -> str:
        """What an expression is worth inside the sandbox."""
        with pytest.raises(ChildFailure) as caught:
            attempt("bwrap", honest_but(load=f"import os, socket\nraise ValueError(repr({expression}))"), spec=spec)
        return caught.value.detail

    def test_the_network(self):
        assert "'lo'" in self.seen("[name for _, name in socket.if_nameindex()]")
        assert "eth" not in self.seen("[name for _, name in socket.if_nameindex()]")

    def test_other_processes(self):
        assert f"'{os.getpid()}'" not in self.seen("sorted(os.listdir('/proc'))")

    def test_the_environment(self, monkeypatch):
        monkeypatch.setenv("MY_SECRET_TOKEN", "hunter2")
        assert "hunter2" not in self.seen("dict(os.environ)")

    def test_files_of_the_user_and_of_the_run(self, tmp_path):
        (tmp_path / "results.json").write_text("{}")
        assert "False" in self.seen(f"os.path.exists({str(tmp_path / 'results.json')!r})")
        project = Path(__file__).parents[2]
        assert "False" in self.seen(f"os.path.exists({str(project / 'pyproject.toml')!r})")
        assert "False" in self.seen(f"os.path.exists({str(project / 'harness')!r})")

    def test_writing_to_what_it_may_read(self, tmp_path):
        model = tmp_path / "model"
        model.mkdir()
        (model / "weights").write_text("w")
        spec = spec_for("bwrap", models={"me/model": str(model)})
        assert "['weights']" in self.seen("os.listdir('me/model')", spec)
        assert "Read-only" in self.seen("open('me/model/weights', 'w')", spec)


def test_a_models_name_is_a_folder_where_the_file_runs(tier, tmp_path):
    (tmp_path / "weights").write_text("w")
    spec = spec_for(tier, models={"some/model": str(tmp_path)})
    with pytest.raises(ChildFailure, match=r"\['weights'\]"):
        attempt(tier, honest_but(load="import os\nraise ValueError(os.listdir('some/model'))"), spec=spec)


def test_a_tier_that_does_not_exist_is_refused_with_the_mend():
    with pytest.raises(SandboxError, match=r"sandbox\.tiers"):
        choose_tier(["gvisor"])


def test_a_weaker_tier_is_never_taken_unasked(monkeypatch):
    monkeypatch.setattr("actors.sandbox.tier_problem", lambda tier: "not today" if tier == "bwrap" else None)
    with pytest.raises(SandboxError, match="not today"):
        choose_tier(["bwrap"])
    assert choose_tier(["bwrap", "process"]) == "process"


@without_bwrap
def test_only_the_one_gpu_is_bound():
    command = " ".join(bwrap_command(spec_for("bwrap"), Device("H100", "GPU-1234", 2)))
    assert "/dev/nvidia2" in command
    assert "/dev/nvidia0" not in command
    assert "CUDA_VISIBLE_DEVICES GPU-1234" in command
