"""A calibration: what it asks the actors for, what it concludes, how it is kept, and what a run says of it."""

import dataclasses
import io
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import actors.pool
from actors.messages import ImageRow, Layout, Machine, Measured, Outcome, PoolError, Side, Status, Stopped
from harness import cli
from harness.calibrate import CPU_SIZES, GPU_SIZES, calibrate
from harness.calibration import (
    Calibration,
    CalibrationError,
    CalibrationFailure,
    CalibrationRow,
    apart,
    distinguishable,
    distinguishable_by_starts,
    read_calibration,
    require_place,
    rows_for_run,
    start_spread,
    suggest,
    suggest_starts,
    worst_noise,
    worst_spread,
    write_calibration,
)
from harness.config import Config, ConfigError, Evaluation, load_config
from harness.evaluation import Sources, make_record
from harness.figures import SequentialDesign, figures
from harness.modelfile import ModelFileError
from harness.planning import ModelNotFound, criteria, sequential_design
from harness.report.calibration import CalibrationDisplay, print_apart, print_calibration
from harness.report.display import NullDisplay
from harness.requirement import Requirement
from harness.stats import START_ORDER_EFFECT, StartSpread, confidence_at_look, speedup_of_means
from harness.tasks import Difficulty, Pair, Task
from tests.harness.record_samples import batches, images, record

BASELINE = Path(__file__).parents[2] / "examples" / "models" / "baseline.py"
ROW = {
    "actor": "gpu 0",
    "host": "node-1",
    "device": "NVIDIA H100",
    "device_id": "GPU-0",
    "batch_size": 4,
    "seconds_per_image": 0.5,
    "noise": 0.01,
    "start_means": (0.001, -0.003, -0.001, -0.005),
    "restart_s": 16.0,
    "speedup": 1.001,
    "speedup_low": 0.98,
    "speedup_high": 1.02,
    "gpu_busy": 0.97,
    "timed": 9,
    "disturbed": 1,
}


def row(gpu: int = 0, **changes) -> CalibrationRow:
    return CalibrationRow(**{**ROW, "actor": f"gpu {gpu}", "device_id": f"GPU-{gpu}", **changes})


def calibration(*rows: CalibrationRow, failures=()) -> Calibration:
    return Calibration(
        date=datetime(2026, 1, 31, 12, 0, tzinfo=UTC),
        versions={"torch": "2.11"},
        baseline="baseline.py",
        baseline_sha256="ab" * 32,
        confidence=0.95,
        batches=8,
        rows=rows,
        failures=failures,
    )


def shown(*rows: CalibrationRow, config: Config | None = None, failures=(), width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_calibration(console, calibration(*rows, failures=failures), config or Config())
    return console.file.getvalue()


def words(text: str) -> str:
    return " ".join(text.split())


# What can be told apart


SPREAD = StartSpread(0.01, 7, 0.002)


@pytest.mark.parametrize("count", [8, 15, 32])
@pytest.mark.parametrize(("spread", "starts"), [(None, 1), (SPREAD, 1), (SPREAD, 2), (SPREAD, 3)])
def test_what_can_be_told_apart_is_half_the_interval_of_a_pair_with_this_noise(count, spread, starts):
    logs = np.random.default_rng(1).normal(0.0, 1.0, count)
    numbers = np.sort(np.arange(count) % starts)
    for number in range(starts):
        logs[numbers == number] -= logs[numbers == number].mean()
    logs *= 0.03 / math.sqrt(logs @ logs / (count - starts))
    rows = [
        dataclasses.replace(one, wall_s=math.exp(logs[one.batch]) if one.side is Side.BASELINE else 1.0, block=number)
        for one in batches(count)
        for number in [int(numbers[one.batch])]
    ]
    # The candidate is started last in the first start and in every other one after it.
    rows = [dataclasses.replace(one, started_last=(one.block % 2 == 0) is (one.side is Side.CANDIDATE)) for one in rows]
    design = SequentialDesign(0.95, count, starts, spread)
    found = figures(Measured(rows, images(4 * count), Layout.INTERLEAVED), design)
    told = distinguishable(0.03, count, 0.95, spread, starts)
    assert told == pytest.approx(found.speedup_high / found.speedup - 1, rel=0.02 if count % starts else 1e-9)


@pytest.mark.parametrize("starts", [4, 5, 12])
def test_without_a_calibration_it_is_half_the_interval_of_the_means_of_starts(starts):
    logs = np.random.default_rng(1).normal(0.0, 1.0, starts)
    logs *= 0.03 / logs.std(ddof=1)
    found = speedup_of_means(logs, range(starts), confidence_at_look(starts, starts, 0.95))
    places = START_ORDER_EFFECT / starts if starts % 2 else 0.0
    assert distinguishable_by_starts(0.03, starts, 0.95) == pytest.approx(
        found.high / found.value * math.exp(places) - 1
    )


def test_less_can_be_told_apart_with_more_noise_fewer_batches_and_more_confidence():
    assert distinguishable(0.0, 8, 0.95) == pytest.approx(math.expm1(START_ORDER_EFFECT))
    assert distinguishable(0.04, 8, 0.95) > distinguishable(0.02, 8, 0.95) > distinguishable(0.02, 16, 0.95) > 0
    assert distinguishable(0.02, 8, 0.99) > distinguishable(0.02, 8, 0.95)


def test_the_noisiest_device_decides():
    rows = [row(0, batch_size=4), row(1, batch_size=4, noise=0.02), row(0, batch_size=1, noise=0.3), row(1)]
    assert worst_noise(rows) == {1: 0.3, 4: 0.02}
    assert list(worst_noise(rows)) == [1, 4]


# Starts of the same files


def test_the_spread_of_starts_is_that_of_their_means():
    spread = row().spread
    assert (spread.std, spread.df) == (pytest.approx(np.std([1, -3, -1, -5], ddof=1) / 1000), 3)
    assert row().order_effect == pytest.approx(0.002)
    assert spread.order_effect == START_ORDER_EFFECT, "2 is less than its interval is wide"
    sure = row(start_means=(-0.004, -0.005, -0.006, -0.005)).spread
    assert sure.order_effect == pytest.approx(0.005)


def test_an_order_effect_that_is_not_seen_is_no_smaller_than_the_one_that_is_known():
    assert row(start_means=(-0.0001, -0.0001, -0.0002)).spread.order_effect == START_ORDER_EFFECT


def test_the_batches_of_a_start_are_those_that_cost_least():
    one = row(noise=0.02, start_means=(0.01, -0.01), restart_s=64.0, seconds_per_image=0.5)
    assert one.start_cost() == 16.0
    between = np.var([0.01, -0.01], ddof=1) - 0.02**2 / 8
    assert one.batches_per_start(8) == round(math.sqrt(16 * 0.02**2 / between)) == 7
    assert row(noise=0.02, start_means=(0.001, -0.001)).batches_per_start(8) == 8, "starts are alike"


def test_the_widest_spread_at_the_nearest_batch_size_counts():
    rows = [
        row(0, start_means=(0.01, -0.01)),
        row(1, start_means=(-0.005, -0.0051, -0.0049)),
        row(0, batch_size=1, start_means=(0.1, -0.1)),
    ]
    spread = start_spread(calibration(*rows), 8)
    assert (spread.std, spread.df) == (pytest.approx(0.02 / math.sqrt(2)), 1)
    assert spread.order_effect == pytest.approx(0.005)
    assert start_spread(calibration(*rows), 1).std == pytest.approx(0.2 / math.sqrt(2))
    assert start_spread(calibration(), 1) is None


def test_a_calibration_makes_the_intervals_of_a_run_cover_restarts(tmp_path):
    write_calibration(tmp_path / "c.json", calibration(row()))
    config = load_config(None, [f"pool.calibration={tmp_path / 'c.json'}"])
    design = sequential_design(config)
    assert design.spread == row().spread
    task = Task("7", "", Difficulty.EASY, None, BASELINE, BASELINE, Requirement())
    measured = {"batches": tuple(batches(32)), "images": tuple(images(128)), "layout": Layout.INTERLEAVED}
    outcome, now = Outcome("7", 1, Status.MEASURED, "", **measured), datetime.now(UTC)
    made, bare = (
        make_record(Pair(task, BASELINE), Sources(), outcome, criteria(config), one, now)
        for one in (design, sequential_design(Config()))
    )
    assert (made.covers_restarts, made.start_std, made.start_df) == (True, pytest.approx(row().spread.std), 3)
    assert (bare.covers_restarts, bare.start_std) == (False, None)
    assert made.speedup_low < bare.speedup_low


# The suggestion


def alike(*sizes: int) -> dict[int, StartSpread]:
    """Starts of batches of these sizes that hardly differ."""
    return dict.fromkeys(sizes, StartSpread(0.0001, 7))


def test_the_smallest_batch_size_that_is_quiet_enough_is_suggested():
    settings = Evaluation(half_width=0.02, prompts=4, batch_size=1)
    found = suggest({1: 0.2, 4: 0.01, 16: 0.001}, alike(1, 4, 16), settings)
    assert (found.batch_size, found.restarts, found.half_width) == (4, 1, 0.02)
    assert found.batches in (4, 8, 16)
    assert found.prompts == 4 * found.batches
    spread = alike(4)[4]
    assert distinguishable(0.01, found.batches, 0.95, spread) <= 0.02
    assert distinguishable(0.01, found.batches // 2, 0.95, spread) > 0.02


def test_the_batches_of_a_suggestion_are_those_that_its_prompts_make():
    found = suggest({4: 0.001}, alike(4), Evaluation(half_width=0.02, prompts=64))
    assert (found.batches, found.prompts) == (16, 64), "the fourth look of sixteen tells less than the fourth of four"


def test_where_16_batches_are_not_enough_the_quietest_gets_more():
    found = suggest({1: 0.06, 4: 0.04, 16: 0.045}, alike(1, 4, 16), Evaluation(half_width=0.02))
    assert (found.batch_size, found.restarts) == (4, 1)
    assert found.batches in (32, 64)
    assert found.half_width == 0.02


def test_where_starts_differ_too_much_there_are_more_of_them():
    found = suggest({4: 0.001}, {4: StartSpread(0.01, 7)}, Evaluation(half_width=0.02))
    assert found.restarts == 2
    reached = {starts: distinguishable(0.001, 32, 0.95, StartSpread(0.01, 7), starts) for starts in (1, 2)}
    assert reached[2] <= 0.02 < reached[1]


def test_where_64_batches_in_8_starts_are_not_enough_the_half_width_is_the_one_that_they_reach():
    spreads = {1: StartSpread(0.1, 7), 4: StartSpread(0.05, 7)}
    found = suggest({1: 0.5, 4: 0.3}, spreads, Evaluation(half_width=0.02))
    reached = distinguishable(0.3, 64, 0.95, spreads[4], 8)
    assert (found.batch_size, found.batches, found.restarts, found.prompts) == (4, 64, 8, 256)
    assert reached <= found.half_width < reached + 0.001


def overrides(found) -> list[str]:
    keys = ("batch_size", "prompts", "restarts", "half_width")
    return [f"evaluation.{key}={getattr(found, key)}" for key in keys]


@pytest.mark.parametrize("noise", [{2: 0.001}, {3: 0.05, 16: 0.1}, {1: 0.5}, {4: 50.0}])
@pytest.mark.parametrize("half_width", [0.0, 0.0195, 0.1])
def test_a_suggestion_is_a_valid_configuration(noise, half_width):
    settings = Evaluation(half_width=half_width)
    rows = [row(batch_size=size, noise=value, start_means=(value, -value)) for size, value in noise.items()]
    for found in (suggest(noise, worst_spread(rows, 0.95), settings), suggest_starts(rows[:1], 8, settings)):
        read = load_config(None, overrides(found)).evaluation
        assert read.half_width >= half_width
        assert read.prompts >= Evaluation().prompts, "the loss of quality needs them"
        assert read.prompts // read.batch_size == found.batches


def test_a_half_width_that_is_reached_stays_as_it_is():
    assert suggest({4: 0.001}, alike(4), Evaluation(half_width=0.0195)).half_width == 0.0195


def test_without_a_calibration_the_fewest_starts_that_suffice_are_suggested():
    rows = [row(0), row(1, noise=0.02, start_means=(0.01, -0.01), restart_s=64.0)]
    settings = Evaluation(half_width=0.04, prompts=4)
    found = suggest_starts(rows, 8, settings)
    assert found.batches == found.restarts * rows[1].batches_per_start(8)
    std = math.hypot(rows[1].std_between(8), 0.02 / math.sqrt(rows[1].batches_per_start(8)))
    assert distinguishable_by_starts(std, found.restarts, 0.95) <= 0.04
    assert distinguishable_by_starts(std, found.restarts - 1, 0.95) > 0.04
    many = suggest_starts(rows, 8, Evaluation(half_width=0.001))
    assert (many.restarts, many.half_width > 0.001) == (12, True)
    assert many.batches // many.restarts >= rows[1].batches_per_start(8)


# Devices that are apart


def test_devices_are_apart_by_the_time_of_an_image_at_one_batch_size():
    rows = [row(0), row(1, seconds_per_image=0.52), row(2, seconds_per_image=0.51), row(1, batch_size=1)]
    (one,) = apart(rows, 0.03)
    assert (one.faster.actor, one.slower.actor) == ("gpu 0", "gpu 1")
    assert one.share == pytest.approx(0.04)
    assert apart(rows, 0.05) == []
    assert apart([], 0.03) == []


def test_of_a_run_the_devices_that_it_used_count_at_the_nearest_batch_size():
    rows = [row(gpu, batch_size=size) for size in (1, 4, 16) for gpu in range(3)]
    used = [record(device_id="GPU-0", host="node-1"), record(device_id="GPU-2", host="node-1"), record(device_id=None)]
    found, unknown = rows_for_run(calibration(*rows), used, 6)
    assert [(one.actor, one.batch_size) for one in found] == [("gpu 0", 4), ("gpu 2", 4)]
    assert unknown == set()
    assert rows_for_run(calibration(*rows), used, 12)[0][0].batch_size == 16
    elsewhere = [record(device_id="GPU-0", host="node-2")]
    assert rows_for_run(calibration(*rows), elsewhere, 4) == ([], {"GPU-0 of node-2"})


# The file


def test_a_calibration_reads_back_as_it_was_written(tmp_path):
    failure = CalibrationFailure(actor="gpu 1", batch_size=16, status="out_of_memory", detail="load: 80 GiB")
    written = calibration(row(), row(1, gpu_busy=None), failures=[failure])
    write_calibration(tmp_path / "c.json", written)
    read = read_calibration(tmp_path / "c.json")
    assert read == written
    assert json.loads((tmp_path / "c.json").read_text())["schema_version"] == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 1}, "schema_version: Input should be 2"),
        ({"rows": [{key: value for key, value in ROW.items() if key != "start_means"}]}, "rows.0.start_means"),
        ({"rows": [{**ROW, "noise": "much"}]}, "rows.0.noise"),
        ({"rows": [{**ROW, "seconds_per_image": 0}]}, "rows.0.seconds_per_image"),
        ({"rows": None}, "rows"),
        ({"more": 1}, "more"),
    ],
)
def test_a_file_that_is_none_is_said_so_with_the_key(tmp_path, change, said):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({**calibration().model_dump(mode="json"), **change}))
    with pytest.raises(CalibrationError, match=said) as caught:
        read_calibration(path)
    assert str(path) in str(caught.value)
    assert "diffharness calibrate" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema_version": 2}', "\x00"])
def test_what_is_no_calibration_at_all_is_said_so(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(CalibrationError, match="no calibration of this version"):
        read_calibration(tmp_path / "c.json")


def test_a_file_that_cannot_be_read_or_written_is_said_so(tmp_path, monkeypatch):
    with pytest.raises(CalibrationError, match="No such file"):
        read_calibration(tmp_path / "none.json")
    for path in (tmp_path, tmp_path / "none" / "c.json"):
        with pytest.raises(CalibrationError, match="--out"):
            require_place(path)
        with pytest.raises(CalibrationError, match="--out"):
            write_calibration(path, calibration())
    require_place(tmp_path / "c.json")
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    with pytest.raises(CalibrationError, match="may write to"):
        require_place(tmp_path / "c.json")


# What is asked of the actors, with a pool that measures nothing


def outcome_of(job, place: int, **changes) -> Outcome:
    """Every call takes 1 s, but for the baseline's second of a pair, which takes longer in later starts."""
    count, size = job.plan.batches, job.plan.batch_size
    start = int(job.pair[-1])
    rows = [dataclasses.replace(one, images=size, wall_s=1.0) for one in batches(count)]
    rows = [
        dataclasses.replace(one, wall_s=1.0 + start / 2) if (one.batch, one.side) == (1, Side.BASELINE) else one
        for one in rows
    ]
    scored = [ImageRow(n // size, n % size, "a", n, False, 30.0, 30.0, 1.0, math.inf) for n in range(count * size)]
    machine = Machine("node-1", "NVIDIA H100", f"GPU-{place}", "bwrap", "cgroup v2", "clip", {"torch": "2.11"})
    fields = {"machine": machine, "batches": tuple(rows), "images": tuple(scored), "stopped": Stopped.BOUND}
    fields |= {"layout": Layout.INTERLEAVED, "wall_s": 40.0 + start}
    return Outcome(job.pair, 1, **{"status": Status.MEASURED, "detail": "", **fields, **changes})


class FakePool:
    """Two actors that answer at once, the last job first."""

    on_gpus = True
    jobs: ClassVar[list] = []
    fail: ClassVar[dict] = {}

    def __init__(self, spec, on_progress) -> None:
        self.slots = [SimpleNamespace(name=f"gpu {place}", place=place) for place in range(2)]

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        pass

    def run(self, jobs):
        FakePool.jobs = jobs
        for job in reversed(jobs):
            yield outcome_of(job, job.place, **self.fail.get(job.pair, {}))


@pytest.fixture
def pool(monkeypatch):
    monkeypatch.setattr(actors.pool, "Pool", FakePool)
    monkeypatch.setattr(FakePool, "fail", {})
    return FakePool


def calibrated(sizes=(2,), batches=2, restarts=2, display=None) -> Calibration:
    return calibrate(BASELINE, Config(), sizes, batches, restarts, display or NullDisplay())


def test_every_actor_measures_every_batch_size_in_every_start(pool):
    found = calibrated([4, 2, 4], batches=3)
    names = [f"gpu {gpu}, batch {size}, start {start}" for size in (2, 4) for start in (1, 2) for gpu in range(2)]
    assert [(job.pair, job.place) for job in pool.jobs] == list(zip(names, [0, 1] * 4, strict=True))
    assert [(one.batch_size, one.actor, one.device_id, len(one.start_means)) for one in found.rows] == [
        (2, "gpu 0", "GPU-0", 2),
        (2, "gpu 1", "GPU-1", 2),
        (4, "gpu 0", "GPU-0", 2),
        (4, "gpu 1", "GPU-1", 2),
    ]
    assert (found.batches, found.versions, found.failures) == (3, {"torch": "2.11"}, ())


def test_a_job_measures_all_batches_of_the_file_against_itself(pool):
    calibrated([2, 4], batches=3)
    for job, size in zip(pool.jobs, [2, 2, 2, 2, 4, 4, 4, 4], strict=True):
        assert job.baseline == job.candidate == job.reference
        assert job.baseline.source.startswith(BASELINE.read_bytes())
        assert (job.plan.batches, job.plan.warmup_at_most, job.plan.batch_size) == (3, 6, size)
        assert (job.plan.starts, job.plan.burn_in) == (1, Config().evaluation.burn_in)
        assert job.plan.profile
        assert job.plan.repeats == Config().evaluation.max_repeats
        measured = Measured(batches(3), images(12), Layout.INTERLEAVED)
        assert job.plan.stop(measured) is None, "noise is measured on all of them"
    assert pool.jobs[0].baseline.sha256 == pool.jobs[1].baseline.sha256
    assert len({job.baseline.sha256 for job in pool.jobs}) == 4, "what is warm from another size or start is not fresh"
    assert len({job.plan.key for job in pool.jobs}) == 8, "each start is asked other questions"


def test_without_batch_sizes_the_device_decides_on_them(pool, monkeypatch):
    assert {one.batch_size for one in calibrated([]).rows} == set(GPU_SIZES)
    monkeypatch.setattr(FakePool, "on_gpus", False)
    assert {one.batch_size for one in calibrated([]).rows} == set(CPU_SIZES)


def test_a_row_holds_what_its_starts_come_to(pool):
    first, _ = calibrated(batches=4, restarts=3).rows
    jumps = np.log([1.5, 2.0, 2.5])
    assert sorted(first.start_means) == pytest.approx(jumps / 4)  # one of four values is off by a jump
    assert first.noise == pytest.approx(math.sqrt(np.mean((jumps / 2) ** 2)))  # and its sample deviation
    means = speedup_of_means(jumps / 4, range(3), 0.95)
    assert (first.speedup, first.speedup_low) == (pytest.approx(means.value), pytest.approx(means.low))
    assert first.seconds_per_image == pytest.approx(np.mean([(3 + 1.5 + 4) / 16, (3 + 2 + 4) / 16, (3 + 2.5 + 4) / 16]))
    assert first.restart_s == pytest.approx(np.mean([41 - 8.5, 42 - 9.0, 43 - 9.5]))
    assert (first.timed, first.disturbed, first.gpu_busy) == (12, 0, None)


def test_what_could_not_be_measured_is_said_and_the_rest_is_kept(pool):
    nothing = {"batches": (), "images": (), "stopped": None, "layout": None}
    pool.fail = {
        "gpu 1, batch 4, start 2": {"status": Status.OUT_OF_MEMORY, "detail": "load: \ud83d\x1b[2J80\nGiB", **nothing}
    }
    said = io.StringIO()
    found = calibrated([2, 4], display=CalibrationDisplay(Console(file=said, width=200)))
    assert len(found.rows) == 3
    (failure,) = found.failures
    assert (failure.actor, failure.batch_size, failure.status) == ("gpu 1", 4, "out_of_memory")
    assert failure.detail == "load: 80 GiB"
    assert "gpu 1, batch 4, start 2: out_of_memory: load: 80 GiB" in said.getvalue()
    assert "gpu 0, batch 2, start 1: 1.225x as fast as itself" in said.getvalue()
    assert "batch 4 on gpu 1 was not measured: out_of_memory: load: 80 GiB" in shown(
        *found.rows, failures=found.failures
    )


def test_mistakes_are_said_before_any_actor_starts(tmp_path, monkeypatch):
    def refuse(*_):
        raise PoolError("started")

    monkeypatch.setattr(actors.pool, "Pool", refuse)
    with pytest.raises(ModelFileError, match="no such file"):
        calibrate(tmp_path / "none.py", Config(), [], 2, 2, NullDisplay())
    (tmp_path / "b.py").write_text(BASELINE.read_text().replace("diffharness/tiny-shapes", "no/such-model"))
    with pytest.raises(ModelNotFound, match="no/such-model"):
        calibrate(tmp_path / "b.py", Config(), [], 2, 2, NullDisplay())
    (tmp_path / "no" / "such-model").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"scorer\.model"):
        calibrate(tmp_path / "b.py", Config(), [], 2, 2, NullDisplay())
    with pytest.raises(PoolError, match="started"):
        calibrate(BASELINE, Config(), [], 2, 2, NullDisplay())


# What is printed


def lines_of(text: str, *start: str) -> list[str]:
    """The lines that begin with these words, with single spaces."""
    return [words(line) for line in text.splitlines() if words(line).split(" ")[: len(start)] == list(start)]


def test_the_report_has_a_row_for_each_device_and_batch_size():
    text = shown(row(0), row(1, noise=0.02), row(0, batch_size=16), row(1, batch_size=16, gpu_busy=None))
    assert max(len(line) for line in text.splitlines() if not line.startswith("  --set")) <= 100
    assert "4 starts of both processes with 8 batches of each side" in words(text)
    assert "NVIDIA H100 of node-1: gpu 0, gpu 1" in text
    noise, starts = lines_of(text, "4", "gpu", "1")
    assert noise == "4 gpu 1 500 ms 2.00% 1.001x 0.980x to 1.020x 1 of 9 97.0%"
    assert starts == "4 gpu 1 0.26% 3 0.20% ± 0.41% 16 s 8"
    assert "All actors take the same time per image, to within 3.0%" in text


def test_no_table_is_cut_off_on_a_narrow_screen():
    text = shown(row(start_means=(0.1, -0.3, -0.2, -0.5), noise=0.2), row(1, gpu_busy=None), width=80)
    assert "…" not in text
    assert "22.50% ± " in text


def test_the_report_says_what_can_be_told_of_processes_and_of_files():
    text = shown(row(0), row(1, noise=0.02))
    (two,), (one_start, two_starts) = lines_of(text, "4", "two"), lines_of(text, "4", "files,")
    spread = row().spread
    assert two.split()[3] == f"{100 * distinguishable(0.02, 4, 0.95):.2f}%"
    assert one_start.split()[4] == f"{100 * distinguishable(0.02, 4, 0.95, spread):.2f}%"
    assert two_starts.split()[-1] == f"{100 * distinguishable(0.02, 32, 0.95, spread, 2):.2f}%"


def test_a_machine_without_gpus_has_no_column_for_them():
    assert "GPU busy" not in shown(row(gpu_busy=None))
    assert "All actors" not in shown(row()), "one alone agrees with nobody"


def test_devices_that_differ_are_named():
    text = words(shown(row(0), row(1, seconds_per_image=0.55, device="NVIDIA A100")))
    assert "of different models" in text
    assert "In batches of 4, gpu 1 takes 10.0% longer per image than gpu 0; pool.tolerance is 3.0%." in text
    assert "All actors" not in text


def test_a_file_that_differs_from_itself_is_named():
    assert "1.071x in batches of 4 on gpu 0" in words(shown(row(speedup=1.071, speedup_low=1.05, speedup_high=1.09)))
    assert "it matters which process is started last" in words(shown(row(speedup=0.98, speedup_high=0.99)))
    assert "not as fast as itself" not in shown(row())


def test_the_suggestions_can_be_pasted():
    text = shown(row(noise=0.3), width=60)
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("--set")]
    with_it, without = (load_config(None, [part.strip() for part in line.split("--set ")[1:]]) for line in lines)
    assert (with_it.evaluation.batch_size, with_it.evaluation.prompts, with_it.evaluation.restarts) == (4, 256, 8)
    assert without.evaluation.restarts == 12
    assert f"half_width: {with_it.evaluation.half_width}}}" in text
    assert "nothing that was tried tells 2.0% apart" in words(text)


def test_what_a_run_needs_with_and_without_the_calibration_is_said():
    text = words(shown(row()))
    assert "With this calibration (pool.calibration), batches of 4 in one start tell speedups 2.0% apart:" in text
    assert "Without it, 8 batches of 4 in each of 4 starts tell speedups 2.0% apart:" in text


def test_a_run_says_which_of_its_devices_are_apart():
    def said(*rows):
        console = Console(file=io.StringIO(), width=100)
        used = [record(device_id=f"GPU-{gpu}", host="node-1") for gpu in range(2)]
        print_apart(console, calibration(*rows), used, Config())
        return words(console.file.getvalue())

    assert said(row(0), row(1), row(2, seconds_per_image=0.9)) == ""
    text = said(row(0), row(1, seconds_per_image=0.55))
    assert "by the calibration of 2026-01-31, gpu 1 (GPU-1 of node-1) takes 10.0% longer per image than gpu 0" in text
    assert "does not know: GPU-1 of node-1" in said(row(0))


# The commands


def test_a_run_reads_its_calibration_before_it_measures(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(cli.driver, "run", lambda *_: ran.append(1) or [record(device_id=f"GPU-{n}") for n in range(2)])
    arguments = ["run", "--anno", "a", "--gen", "g", "--out", "o", "--set", f"pool.calibration={tmp_path / 'c.json'}"]
    assert isinstance(CliRunner().invoke(cli.app, arguments).exception, CalibrationError)
    assert not ran
    write_calibration(tmp_path / "c.json", calibration(row(0), row(1, seconds_per_image=0.55)))
    assert "takes 10.0% longer" in words(CliRunner().invoke(cli.app, arguments).stdout)


def test_the_path_of_a_calibration_counts_from_the_configurations_folder(tmp_path):
    (tmp_path / "c.yaml").write_text("pool: {calibration: here/c.json, tolerance: 0.1}")
    settings = load_config(tmp_path / "c.yaml").pool
    assert (settings.calibration, settings.tolerance) == (tmp_path / "here" / "c.json", 0.1)


def test_calibrate_writes_the_file_and_exits_with_1_where_nothing_could_be_measured(pool, tmp_path):
    numbers = ["--batch-size", "2", "--batches", "2", "--restarts", "2"]
    arguments = ["calibrate", str(BASELINE), *numbers, "--out", str(tmp_path / "c.json")]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    assert len(read_calibration(tmp_path / "c.json").rows) == 2
    (tmp_path / "c.json").unlink()
    lost = {"status": Status.INFRASTRUCTURE, "detail": "lost", "batches": (), "images": (), "stopped": None}
    pool.fail = {f"gpu {place}, batch 2, start 1": lost for place in range(2)}
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 1
    assert "batch 2 on gpu 1 was not measured: infrastructure: lost" in done.stdout
    assert not (tmp_path / "c.json").exists()
