"""The plain protocol that the README's figures are compared with, and the pairs that both are measured on."""

import json
import math
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

from actors.messages import BatchRow, Finding, Outcome, Side, Sign, Status
from harness.modelfile import compare_model_configs, read_model_file
from harness.tasks import load_pairs

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "examples" / "models"
SD15 = ROOT / "benchmarks" / "sd15"
PAIRS = load_pairs(SD15 / "anno.json", SD15 / "gen.json")


@pytest.fixture(scope="module")
def compare():
    """The module benchmarks/compare.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import compare

        yield compare


@pytest.fixture(scope="module")
def gpu_faults():
    """The module benchmarks/gpu_faults.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import gpu_faults

        yield gpu_faults


@pytest.fixture(scope="module")
def sequential(tmp_path_factory):
    """What sequential.py writes of a candidate that works, one that builds something else, and one that raises."""
    folder = tmp_path_factory.mktemp("sequential")
    baseline = (MODELS / "baseline.py").read_text().replace("num_inference_steps=24", "num_inference_steps=4")
    (folder / "baseline.py").write_text(baseline)
    (folder / "slow.py").write_text(
        baseline.replace("    return pipe(", "    pipe(prompts, num_inference_steps=4)\n    return pipe(")
    )
    (folder / "other.py").write_text(baseline.replace("DDIM", "PNDM"))
    (folder / "raises.py").write_text(baseline.replace("return pipe(", "return pipe.fast("))
    task = {"prompt_context": "", "difficulty": "easy", "gt_file": "baseline.py", "baseline_file": "baseline.py"}
    names = ["slow", "other", "raises", "left_out"]
    (folder / "anno.json").write_text(json.dumps([{"prompt_id": name, **task} for name in names]))
    (folder / "gen.json").write_text(json.dumps([{"prompt_id": name, "gen_file": f"{name}.py"} for name in names]))
    small = ["evaluation.prompts=3", "evaluation.batch_size=1", "evaluation.seed=1", "pool.device=cpu"]
    settings = [part for setting in small for part in ("--set", setting)]
    files = ["--anno", "anno.json", "--gen", "gen.json", "--out", "out.json", "--pairs", "3"]
    script = ROOT / "benchmarks" / "sequential.py"
    # One thread: two that wait for each other take many times as long where tests run beside this one.
    done = subprocess.run(
        [sys.executable, str(script), *files, *settings],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "out.json").read_text()), done.stdout


def test_the_plain_protocol_measures_a_pair(sequential):
    summary, printed = sequential
    slow = summary["pairs"][0]
    assert slow["error"] is None
    assert 0.2 < slow["speedup"] < 0.9, "it makes every call twice"
    assert math.isclose(slow["quality_loss"], 0, abs_tol=1e-6), "the same pictures"
    assert 0 < slow["speedup_low"] < slow["speedup_high"] < math.inf
    assert math.sqrt(slow["speedup_low"] * slow["speedup_high"]) == pytest.approx(slow["speedup"], rel=0.2)
    assert slow["images"] == 3
    assert all(seconds > 0 for seconds in slow["seconds"].values())
    assert sum(slow["seconds"].values()) <= slow["wall_s"]
    assert "slow: speedup 0." in printed


def test_the_plain_protocol_goes_on_after_a_failure(sequential):
    summary, printed = sequential
    _, other, raises = summary["pairs"]
    assert "scheduler_class: reference DDIMScheduler, candidate PNDMScheduler" in other["error"]
    assert "has no attribute 'fast'" in raises["error"]
    assert raises["speedup"] is None
    assert raises["seconds"]["warmup"] > 0
    assert raises["error"] in printed


def test_the_plain_protocol_says_its_rate(sequential):
    summary, printed = sequential
    wall_s = sum(pair["wall_s"] for pair in summary["pairs"])
    assert summary["pairs_per_hour"] == pytest.approx(3 * 3600 / wall_s)
    assert summary["shares"]["timed"] == pytest.approx(summary["pairs"][0]["seconds"]["timed"] / wall_s)
    assert f"{summary['pairs_per_hour']:.1f} pairs per hour" in printed


STARTED = datetime(2026, 1, 1, tzinfo=UTC)


def pair(prompt_id, **columns):
    return {
        "prompt_id": prompt_id,
        "candidate_file": f"/candidates/{prompt_id}.py",
        "speedup": 2.0,
        "speedup_low": 1.9,
        "speedup_high": 2.1,
        "images_measured": 8,
        "verdict": "PASS",
        "reason": None,
        "baseline_warmup_s": [3.0, 2.0],
        "candidate_warmup_s": [1.0],
        "baseline_warm_from_before": False,
        "timed_s": 10.0,
        "wall_s": 20.0,
        "idle_s": 1.0,
        "finished_at": STARTED + timedelta(seconds=30),
        **columns,
    }


@pytest.fixture
def ours(compare, tmp_path):
    """A result set of three pairs, of which an earlier call measured one and the source of one was enough."""
    from_source = {
        "speedup": None,
        "speedup_low": None,
        "speedup_high": None,
        "images_measured": 0,
        "baseline_warmup_s": None,
        "candidate_warmup_s": None,
        "baseline_warm_from_before": None,
        "timed_s": 0.0,
        "wall_s": 0.0,
        "idle_s": 0.0,
    }
    rows = [
        pair("a", finished_at=STARTED - timedelta(seconds=1)),
        pair("b", baseline_warm_from_before=True, speedup_high=2.5, images_measured=16),
        pair("c", **from_source),
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pairs.parquet")
    return compare.read_result_set(tmp_path, command_s=25.0, started=STARTED)


def test_a_baseline_that_was_warm_already_costs_nothing_again(ours):
    assert ours.pairs_s == 42.0
    assert ours.useful_s == (10 + 1 + 5) + (10 + 1)
    assert ours.pairs_per_hour == pytest.approx(2 * 3600 / 42), "the third one was never run"
    assert ours.images == 12
    assert ours.command_pairs_s == 21.0, "the first pair is from an earlier call"


def test_half_widths_are_compared_over_the_same_pairs(ours):
    assert ours.half_width({"a"}) == pytest.approx(0.05)
    assert ours.half_width({"a", "b", "c"}) == pytest.approx((0.05 + 0.15) / 2)
    assert ours.half_width({"c"}) is None


def test_both_protocols_stand_side_by_side(compare, ours, sequential, tmp_path):
    summary, _ = sequential
    (tmp_path / "sequential.json").write_text(json.dumps(summary))
    plain = compare.read_sequential(tmp_path / "sequential.json", command_s=None)
    assert plain.pairs_per_hour == pytest.approx(summary["pairs_per_hour"])
    assert plain.useful_s / plain.pairs_s == pytest.approx(summary["shares"]["warmup"] + summary["shares"]["timed"])
    cells = [list(column.cells) for column in compare.costs([plain, ours]).columns]
    rows = dict(zip(cells[0], zip(*cells[1:], strict=True), strict=True))
    assert rows["pairs"] == ("3", "3")
    assert rows["images per side and pair"] == ("3.0", "12.0")
    assert rows["of it start and end, s"] == ("-", "4.0")
    found = [list(column.cells) for column in compare.speedups(plain, ours).columns]
    assert found[3] == ["2.000 (1.900 to 2.100)", "2.000 (1.900 to 2.500)", "-"]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.task.prompt_id)
def test_a_pair_on_the_large_architecture_can_be_measured(pair):
    config = read_model_file(pair.candidate_file)
    assert compare_model_configs(pair.task.baseline_file, pair.candidate_file).matches
    assert (config.model_id, config.scheduler_class, config.num_inference_steps) == ("random/sd15", "DDIMScheduler", 50)
    assert pair.task.requirement.speedup is not None
    assert pair.task.requirement.problem is None


def test_the_set_on_the_large_architecture_has_twelve_candidates():
    assert len(PAIRS) == 12
    methods = {pair.task.prompt_id: read_model_file(pair.candidate_file).methods for pair in PAIRS}
    assert {name for name, found in methods.items() if found == ("half_precision",)} == {"itself", "itself-again"}
    named = {method for found in methods.values() for method in found}
    assert named == {"channels_last", "deepcache", "fused_projections", "half_precision", "tgate", "tome"}


class FakeActor:
    """Ends every pair as its file's docstring says, with a speedup of 1.5, unless `ends` has another outcome for it."""

    def __init__(self, gpu_faults, **ends):
        self.gpu_faults, self.ends = gpu_faults, ends
        self.signs = ends.pop("signs", ("runs_on", "hooks_by_hand"))
        self.machine, self.tier, self.measured = SimpleNamespace(device="a GPU"), "bwrap", []

    def measure(self, job, more_to_come):
        self.measured.append(job.pair)
        status, faster, problem = self.ends.get(job.pair, (min(self.gpu_faults.allowed(job.pair)), 1.5, ""))
        if self.measured[:-1] == []:
            faster = 1.5
        rows = [(side, seconds) for side, seconds in ((Side.BASELINE, 0.15), (Side.CANDIDATE, 0.15 / faster))]
        batches = tuple(BatchRow(0, turn, side, 2, s, s, None, None, 0.0) for turn, (side, s) in enumerate(rows))
        words = self.gpu_faults.expected(job.pair) if job.pair in self.signs else []
        signs = [Sign(word) for word in words if word in set(Sign)]
        findings = tuple(Finding(sign, "seen") for sign in signs)
        return Outcome(
            job.pair, 1, Status(status), "in vain", batches=batches, findings=findings, device_problem=problem
        )

    def close(self):
        self.closed = True


@pytest.mark.parametrize(
    ("ends", "code", "said"),
    [
        ({}, 0, "nothing"),
        ({"oom_in_call": ("measured", 1.5, "")}, 1, "ended as measured"),
        ({"device_assert": ("call_error", 1.5, "wrong numbers")}, 1, "not trusted"),
        ({"honest": ("measured", 1.3, "")}, 1, "moved"),
        ({"signs": ("runs_on",)}, 1, "none of the signs"),
    ],
)
def test_the_gpu_rogues_are_each_followed_by_an_honest_pair(gpu_faults, monkeypatch, capsys, ends, code, said):
    actor = FakeActor(gpu_faults, **ends)
    monkeypatch.setattr(gpu_faults, "GpuActor", lambda *_, **__: actor)
    monkeypatch.setattr(gpu_faults, "used_gib", lambda: 2.0)
    if code:
        with pytest.raises(typer.Exit):
            gpu_faults.main("bwrap", list(gpu_faults.NAMES), 0.05)
    else:
        gpu_faults.main("bwrap", list(gpu_faults.NAMES), 0.05)
    assert said in capsys.readouterr().out
    rogues = [path.stem for path in sorted((ROOT / "tests" / "rogues" / "gpu").glob("*.py"))]
    rogues = [name for name in rogues if name not in ("baseline", "honest")]
    assert len(rogues) == 9
    assert actor.measured == ["honest", *(name for rogue in rogues for name in (rogue, "honest"))]
    assert actor.closed


def test_planning_is_timed_on_files_that_all_become_jobs(capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import planning_cost

    planning_cost.main(pairs=3, times=1)
    assert capsys.readouterr().out.startswith("3 of 3 pairs planned in ")
