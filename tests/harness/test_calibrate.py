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
from actors.messages import ImageRow, Machine, Outcome, PoolError, Side, Status, Stopped
from harness import cli
from harness.calibrate import CPU_SIZES, GPU_SIZES, calibrate
from harness.calibration import (
    Calibration,
    CalibrationError,
    CalibrationFailure,
    CalibrationRow,
    apart,
    distinguishable,
    read_calibration,
    require_place,
    rows_for_run,
    suggest,
    worst_noise,
    write_calibration,
)
from harness.config import Config, ConfigError, Evaluation, load_config
from harness.modelfile import ModelFileError
from harness.planning import ModelNotFound
from harness.report.calibration import CalibrationDisplay, print_apart, print_calibration
from harness.report.display import NullDisplay
from harness.stats import confidence_at_look, speedup
from tests.harness.record_samples import batches, record

BASELINE = Path(__file__).parents[2] / "examples" / "models" / "baseline.py"
ROW = {
    "actor": "gpu 0",
    "host": "node-1",
    "device": "NVIDIA H100",
    "device_id": "GPU-0",
    "batch_size": 4,
    "seconds_per_image": 0.5,
    "noise": 0.01,
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


@pytest.mark.parametrize("count", [4, 8, 16, 32])
def test_what_can_be_told_apart_is_half_an_interval_of_batches_with_this_noise(count):
    logs = np.random.default_rng(1).normal(0.0, 1.0, count)
    logs *= 0.03 / logs.std(ddof=1)
    found = speedup(np.exp(logs), np.ones(count), confidence_at_look(count, count, 0.95))
    assert distinguishable(0.03, count, 0.95) == pytest.approx(found.high / found.value - 1)


def test_less_can_be_told_apart_with_more_noise_fewer_batches_and_more_confidence():
    assert distinguishable(0.0, 8, 0.95) == 0.0
    assert distinguishable(0.04, 8, 0.95) > distinguishable(0.02, 8, 0.95) > distinguishable(0.02, 16, 0.95) > 0
    assert distinguishable(0.02, 8, 0.99) > distinguishable(0.02, 8, 0.95)


def test_the_noisiest_device_decides():
    rows = [row(0, batch_size=4), row(1, batch_size=4, noise=0.02), row(0, batch_size=1, noise=0.3), row(1)]
    assert worst_noise(rows) == {1: 0.3, 4: 0.02}
    assert list(worst_noise(rows)) == [1, 4]


# The suggestion


def test_the_smallest_batch_size_that_is_quiet_enough_is_suggested():
    found = suggest({1: 0.2, 4: 0.01, 16: 0.001}, Evaluation(half_width=0.02, prompts=4, batch_size=1))
    assert (found.batch_size, found.half_width) == (4, 0.02)
    assert found.batches in (4, 8, 16)
    assert found.prompts == 4 * found.batches
    assert distinguishable(0.01, found.batches, 0.95) <= 0.02 < distinguishable(0.01, found.batches // 2, 0.95)


def test_the_batches_of_a_suggestion_are_those_that_its_prompts_make():
    found = suggest({4: 0.001}, Evaluation(half_width=0.02, prompts=64))
    assert (found.batches, found.prompts) == (16, 64), "the fourth look of sixteen tells less than the fourth of four"


def test_where_16_batches_are_not_enough_the_quietest_gets_more():
    found = suggest({1: 0.06, 4: 0.04, 16: 0.045}, Evaluation(half_width=0.02))
    assert found.batch_size == 4
    assert found.batches in (32, 64)
    assert found.half_width == 0.02


def test_where_64_batches_are_not_enough_the_half_width_is_the_one_that_they_reach():
    found = suggest({1: 0.5, 4: 0.3}, Evaluation(half_width=0.02))
    reached = distinguishable(0.3, 64, 0.95)
    assert (found.batch_size, found.batches, found.prompts) == (4, 64, 256)
    assert reached <= found.half_width < reached + 0.001


@pytest.mark.parametrize("noise", [{2: 0.001}, {3: 0.05, 16: 0.1}, {1: 0.5}, {4: 50.0}])
@pytest.mark.parametrize("half_width", [0.0, 0.0195, 0.1])
def test_a_suggestion_is_a_valid_configuration(noise, half_width):
    found = suggest(noise, Evaluation(half_width=half_width))
    overrides = {"batch_size": found.batch_size, "prompts": found.prompts, "half_width": found.half_width}
    read = load_config(None, [f"evaluation.{key}={value}" for key, value in overrides.items()]).evaluation
    assert read.half_width >= half_width
    assert read.prompts >= Evaluation().prompts, "the loss of quality needs them"


def test_a_half_width_that_is_reached_stays_as_it_is():
    assert suggest({4: 0.001}, Evaluation(half_width=0.0195)).half_width == 0.0195


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
    assert json.loads((tmp_path / "c.json").read_text())["schema_version"] == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 2}, "schema_version: Input should be 1"),
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


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema_version": 1}', "\x00"])
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
    """Every call takes 1 s, but for the baseline's second of a pair."""
    count, size = job.plan.batches, job.plan.batch_size
    rows = [dataclasses.replace(one, images=size, wall_s=1.0) for one in batches(count)]
    rows = [
        dataclasses.replace(one, wall_s=1.5) if (one.batch, one.side) == (1, Side.BASELINE) else one for one in rows
    ]
    images = [ImageRow(n // size, n % size, "a", n, False, 30.0, 30.0, 1.0, math.inf) for n in range(count * size)]
    machine = Machine("node-1", "NVIDIA H100", f"GPU-{place}", "bwrap", "cgroup v2", "clip", {"torch": "2.11"})
    fields = {"machine": machine, "batches": tuple(rows), "images": tuple(images), "stopped": Stopped.BOUND}
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


def test_every_actor_measures_every_batch_size(pool):
    found = calibrate(BASELINE, Config(), [4, 2, 4], 3, NullDisplay())
    names = ["batch 2 on gpu 0", "batch 2 on gpu 1", "batch 4 on gpu 0", "batch 4 on gpu 1"]
    assert [(job.pair, job.place) for job in pool.jobs] == list(zip(names, [0, 1, 0, 1], strict=True))
    assert [(one.batch_size, one.actor, one.device_id) for one in found.rows] == [
        (2, "gpu 0", "GPU-0"),
        (2, "gpu 1", "GPU-1"),
        (4, "gpu 0", "GPU-0"),
        (4, "gpu 1", "GPU-1"),
    ]
    assert (found.batches, found.versions, found.failures) == (3, {"torch": "2.11"}, ())


def test_a_job_measures_all_batches_of_the_file_against_itself(pool):
    calibrate(BASELINE, Config(), [2, 4], 3, NullDisplay())
    for job, size in zip(pool.jobs, [2, 2, 4, 4], strict=True):
        assert job.baseline == job.candidate == job.reference
        assert job.baseline.source.startswith(BASELINE.read_bytes())
        assert (job.plan.batches, job.plan.warmup_at_most, job.plan.batch_size) == (3, 6, size)
        assert job.plan.profile
        assert job.plan.repeats == Config().evaluation.max_repeats
        assert job.plan.stop(batches(3), []) is None, "noise is measured on all of them"
    assert pool.jobs[0].baseline.sha256 == pool.jobs[1].baseline.sha256
    assert pool.jobs[0].baseline.sha256 != pool.jobs[2].baseline.sha256, "warm for another size is not warm"


def test_without_batch_sizes_the_device_decides_on_them(pool, monkeypatch):
    assert {one.batch_size for one in calibrate(BASELINE, Config(), [], 2, NullDisplay()).rows} == set(GPU_SIZES)
    monkeypatch.setattr(FakePool, "on_gpus", False)
    assert {one.batch_size for one in calibrate(BASELINE, Config(), [], 2, NullDisplay()).rows} == set(CPU_SIZES)


def test_a_row_holds_what_its_batches_come_to(pool):
    first, _ = calibrate(BASELINE, Config(), [2], 4, NullDisplay()).rows
    jump = math.log(1.5)
    assert first.noise == pytest.approx(jump / 2)  # one of four values is off by `jump`: its sample deviation
    assert first.speedup == pytest.approx(math.exp(jump / 4))
    assert first.speedup_low < first.speedup < first.speedup_high
    assert first.seconds_per_image == pytest.approx((4.5 / 8 + 4.0 / 8) / 2)
    assert (first.timed, first.disturbed, first.gpu_busy) == (4, 0, None)


def test_what_could_not_be_measured_is_said_and_the_rest_is_kept(pool):
    nothing = {"batches": (), "images": (), "stopped": None}
    pool.fail = {
        "batch 4 on gpu 1": {"status": Status.OUT_OF_MEMORY, "detail": "load: \ud83d\x1b[2J80\nGiB", **nothing}
    }
    said = io.StringIO()
    found = calibrate(BASELINE, Config(), [2, 4], 2, CalibrationDisplay(Console(file=said, width=200)))
    assert len(found.rows) == 3
    (failure,) = found.failures
    assert (failure.actor, failure.batch_size, failure.status) == ("gpu 1", 4, "out_of_memory")
    assert failure.detail == "load: 80 GiB"
    assert "batch 4 on gpu 1: out_of_memory: load: 80 GiB" in said.getvalue()
    assert "batch 2 on gpu 0: 1.225x as fast as itself" in said.getvalue()
    assert "batch 4 on gpu 1 was not measured: out_of_memory: load: 80 GiB" in shown(
        *found.rows, failures=found.failures
    )


def test_mistakes_are_said_before_any_actor_starts(tmp_path, monkeypatch):
    def refuse(*_):
        raise PoolError("started")

    monkeypatch.setattr(actors.pool, "Pool", refuse)
    with pytest.raises(ModelFileError, match="no such file"):
        calibrate(tmp_path / "none.py", Config(), [], 2, NullDisplay())
    (tmp_path / "b.py").write_text(BASELINE.read_text().replace("diffharness/tiny-shapes", "no/such-model"))
    with pytest.raises(ModelNotFound, match="no/such-model"):
        calibrate(tmp_path / "b.py", Config(), [], 2, NullDisplay())
    (tmp_path / "no" / "such-model").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"scorer\.model"):
        calibrate(tmp_path / "b.py", Config(), [], 2, NullDisplay())
    with pytest.raises(PoolError, match="started"):
        calibrate(BASELINE, Config(), [], 2, NullDisplay())


# What is printed


def test_the_report_has_a_row_for_each_device_and_batch_size():
    text = shown(row(0), row(1, noise=0.02), row(0, batch_size=16), row(1, batch_size=16, gpu_busy=None))
    assert max(map(len, text.splitlines())) <= 100
    assert "NVIDIA H100 of node-1: gpu 0, gpu 1" in text
    line = next(line for line in text.splitlines() if "gpu 1" in line and line.split()[0] == "4")
    assert words(line) == "4 gpu 1 500 ms 2.00% 1.001x 0.980x to 1.020x 1 of 9 97.0%"
    least = next(line for line in text.splitlines() if line.split()[:1] == ["4"] and "gpu" not in line)
    assert words(least).split()[1] == f"{100 * distinguishable(0.02, 4, 0.95):.2f}%"
    assert "All actors take the same time per image, to within 3.0%" in text


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
    assert "not as fast as itself" not in shown(row())


def test_the_suggestion_can_be_pasted():
    text = shown(row(noise=0.3), width=60)
    line = next(line.strip() for line in text.splitlines() if line.strip().startswith("--set"))
    config = load_config(None, [part.strip() for part in line.split("--set ")[1:]])
    assert (config.evaluation.batch_size, config.evaluation.prompts) == (4, 256)
    assert f"half_width: {config.evaluation.half_width}}}" in text


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
    arguments = ["calibrate", str(BASELINE), "--batch-size", "2", "--batches", "2", "--out", str(tmp_path / "c.json")]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    assert len(read_calibration(tmp_path / "c.json").rows) == 2
    (tmp_path / "c.json").unlink()
    lost = {"status": Status.INFRASTRUCTURE, "detail": "lost", "batches": (), "images": (), "stopped": None}
    pool.fail = {f"batch 2 on gpu {place}": lost for place in range(2)}
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 1
    assert "batch 2 on gpu 1 was not measured: infrastructure: lost" in done.stdout
    assert not (tmp_path / "c.json").exists()
