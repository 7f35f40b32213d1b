import dataclasses
import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.stats

from actors.messages import BatchRow, ImageRow, Layout, Machine, Mark, Outcome, Side, SideReport, Status, Stopped
from actors.model_config import ModelConfig
from actors.profiling import Profile
from harness import durable, records
from harness.evaluation import SourceFacts, Sources, make_record, refigured
from harness.figures import SequentialDesign
from harness.judge import judged
from harness.records import (
    BATCHES_SCHEMA,
    IMAGES_SCHEMA,
    PAIRS_SCHEMA,
    PairRecord,
    RareLosses,
    Reason,
    Verdict,
    batches_table,
    images_table,
    pairs_table,
    rows_of,
)
from harness.requirement import Requirement
from harness.result_set import ResultSet, UnstorableError
from harness.run_info import ResultSetError, read_run_info, write_end, write_run_info
from harness.stats import START_ORDER_EFFECT, StartSpread
from harness.tasks import Difficulty, Pair, Task, Unpaired
from tests.harness.record_samples import FIGURES, STRICT, batches, facts, images, record, unmeasured

INFO = {"config": {"evaluation": {"prompts": 8, "batch_size": 4}, "models": {}}, "command": "diffharness run"}
ORDER = ["c", "a", "b"]
NOW = datetime(2025, 3, 1, 12, 0, 41, tzinfo=UTC)


# Rows and tables


def test_records_batches_and_images_come_back_as_they_were():
    kept = [record(), judged(unmeasured(Status.CALL_ERROR, "ValueError: no", log="Traceback"), STRICT)]
    assert rows_of(pairs_table(kept), PairRecord) == kept
    assert rows_of(batches_table("7", batches()), BatchRow) == batches()
    assert rows_of(images_table("7", images()), ImageRow) == images()


def test_what_was_not_measured_is_null():
    row = pairs_table([judged(unmeasured(Status.TIMEOUT), STRICT)]).to_pylist()[0]
    assert {name: row[name] for name in FIGURES} == dict.fromkeys(FIGURES)


def test_a_record_whose_status_and_figures_contradict_cannot_be_made():
    with pytest.raises(ValueError, match="speedup is given with the status timeout"):
        facts(status=Status.TIMEOUT)
    with pytest.raises(ValueError, match="speedup is missing with the status measured"):
        facts(speedup=None)


def test_hostile_text_and_numbers_fit_into_the_tables(tmp_path):
    hostile = record(
        candidate_model_id="\udcff\x00\x1b[31m",
        log="\ud800",
        candidate_num_inference_steps=10**30,
        prompt_id="../\n\udc80",
    )
    with ResultSet.open(tmp_path / "out", INFO, [hostile.prompt_id]) as results:
        results.append(hostile, [], [])
    kept = ResultSet.load(tmp_path / "out")[0]
    assert kept.candidate_model_id == r"\udcff\x00\x1b[31m"
    assert kept.log == "\\ud800"
    assert kept.candidate_num_inference_steps is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_no_text_of_a_model_file_steers_who_opens_the_files(tmp_path):
    steers = "=HYPERLINK(1)\x1b[2J\u202e\u2028\n"
    shown = r"'=HYPERLINK(1)\x1b[2J\u202e\u2028\n"
    hostile = dataclasses.replace(
        record(),
        detail=steers,
        findings={steers: steers},
        candidate_pipeline_class=steers,
        candidate_model_id=steers,
        candidate_scheduler_class=steers,
        candidate_top_kernels={steers: 0.5},
        log=f"{steers}\tnext",
    )
    with ResultSet.open(tmp_path / "out", INFO, [hostile.prompt_id]) as results:
        results.append(hostile, [], [])
    kept = ResultSet.load(tmp_path / "out")[0]
    assert (kept.detail, kept.findings, kept.candidate_top_kernels) == (shown, {shown: shown}, {shown: 0.5})
    assert {kept.candidate_pipeline_class, kept.candidate_model_id, kept.candidate_scheduler_class} == {shown}
    assert kept.log == shown.removesuffix(r"\n") + "\n\tnext"
    assert json.loads((tmp_path / "out" / "evaluation_results.json").read_text())[0]["detail"] == shown
    assert pairs_table([kept]) == pairs_table([hostile]), "the second time changes nothing"


def test_the_users_own_words_are_kept_as_they_are(tmp_path):
    own = {"context": "=1.5x\n\u200f\u05e9", "requirement_problem": "-", "candidate_file": "@a\u202e.py"}
    with ResultSet.open(tmp_path / "out", INFO, ["7"]) as results:
        results.append(record(**own), [], [])
    kept = ResultSet.load(tmp_path / "out")[0]
    assert {name: getattr(kept, name) for name in own} == own


def test_what_is_said_of_a_lost_device_is_escaped(tmp_path):
    write_run_info(tmp_path, INFO, [])
    write_end(tmp_path, {"verdicts": 1}, {"confidence": 0.95}, ["gpu-0: \x1b[2J"])
    assert read_run_info(tmp_path)["spent"] == {"verdicts": 1}
    assert read_run_info(tmp_path)["statistics"] == {"confidence": 0.95}
    assert read_run_info(tmp_path)["out_of_use"] == [r"gpu-0: \x1b[2J"]


def test_the_page_on_records_names_every_column_and_no_other():
    page = (Path(__file__).parents[2] / "docs" / "records.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\w+)\.parquet\n(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL))
    for name, schema in {"pairs": PAIRS_SCHEMA, "batches": BATCHES_SCHEMA, "images": IMAGES_SCHEMA}.items():
        tables = sections[name].split("### Statuses")[0]
        cells = re.findall(r"^\|([^|]+)\|", tables, re.MULTILINE)
        named = [column for cell in cells for column in re.findall(r"`(\w+)`", cell)]
        assert sorted(named) == sorted(schema.names)
    statuses = re.findall(r"^\| `(\w+)` \|", sections["pairs"].split("### Statuses")[1], re.MULTILINE)
    assert statuses == list(Status)


# The result set


def write_run(folder, ids=("a", "b", "c")):
    with ResultSet.open(folder, INFO, ORDER) as results:
        for prompt_id in ids:
            results.append(record(prompt_id=prompt_id), batches(), images())


def column(folder, table, name):
    return pq.ParquetFile(folder / f"{table}.parquet").read()[name].to_pylist()


def test_a_run_ends_in_tables_in_the_annotations_order(tmp_path):
    folder = tmp_path / "deep" / "lr=3"  # a name that Parquet readers take for a partition
    write_run(folder)
    assert column(folder, "pairs", "prompt_id") == ["c", "a", "b"]
    assert column(folder, "batches", "prompt_id") == ["c"] * 4 + ["a"] * 4 + ["b"] * 4
    assert column(folder, "batches", "turn") == [0, 1, 2, 3] * 3
    assert column(folder, "images", "prompt") == [f"picture {index}" for index in range(8)] * 3
    assert pq.read_schema(folder / "pairs.parquet").metadata[b"diffharness_schema"] == b"5"
    assert not (folder / "parts").exists()
    assert [kept.prompt_id for kept in ResultSet.load(folder)] == ["c", "a", "b"]
    run = json.loads((folder / "run.json").read_text())
    assert run["config"] == INFO["config"] == ResultSet.config(folder)
    assert run["command"] == "diffharness run"


def test_the_json_says_what_the_records_say(tmp_path):
    with ResultSet.open(tmp_path, INFO, ["a", "b"]) as results:
        results.append(judged(unmeasured(Status.TIMEOUT, "langsam über 300 s", prompt_id="b"), STRICT), [], [])
        results.append(record(prompt_id="a"), [], [])
    first, second = json.loads((tmp_path / "evaluation_results.json").read_text(encoding="utf-8"))
    assert (first["prompt_id"], first["passed"], first["verdict"], first["speedup"]) == ("a", True, "PASS", 1.62)
    assert first["requirement"] == {"speedup": 1.5, "latency_s": None, "max_quality_loss": 0.05}
    assert (second["status"], second["reason"], second["speedup"]) == ("timeout", "error", None)
    assert second["detail"] == "langsam über 300 s"


def test_an_empty_run_leaves_readable_tables(tmp_path):
    write_run(tmp_path, ids=())
    assert ResultSet.load(tmp_path) == []
    assert column(tmp_path, "images", "seed") == []
    assert json.loads((tmp_path / "evaluation_results.json").read_text()) == []


def test_a_later_run_adds_what_is_missing(tmp_path):
    write_run(tmp_path, ids=["b"])
    with ResultSet.open(tmp_path, {**INFO, "command": "again"}, ORDER) as results:
        assert results.finished() == {"b"}
        with pytest.raises(ResultSetError, match="pair b has a record already"):
            results.append(record(prompt_id="b"), [], [])
        results.append(record(prompt_id="c"), batches(), images())
        assert results.finished() == {"b", "c"}
    assert column(tmp_path, "pairs", "prompt_id") == ["c", "b"]
    assert column(tmp_path, "batches", "prompt_id") == ["c"] * 4 + ["b"] * 4
    run = json.loads((tmp_path / "run.json").read_text())
    assert (run["command"], run["resumed"]) == ("diffharness run", [{"command": "again"}])


def test_a_run_that_breaks_off_keeps_what_is_finished(tmp_path):
    with pytest.raises(KeyboardInterrupt), ResultSet.open(tmp_path, INFO, ORDER) as results:
        results.append(record(prompt_id="a"), batches(), images())
        raise KeyboardInterrupt
    assert column(tmp_path, "pairs", "prompt_id") == ["a"]


def test_a_run_that_goes_on_can_be_read(tmp_path):
    write_run(tmp_path, ids=["b"])
    with ResultSet.open(tmp_path, INFO, ORDER) as results:
        results.append(record(prompt_id="c"), [], [])
        assert [kept.prompt_id for kept in ResultSet.load(tmp_path)] == ["c", "b"]


def test_two_runs_cannot_write_to_one_folder(tmp_path):
    writing = ResultSet.open(tmp_path, INFO, ORDER)
    with pytest.raises(ResultSetError, match=rf"{tmp_path}.*process {os.getpid()}"):
        ResultSet.open(tmp_path, INFO, ORDER)
    writing.close()
    write_run(tmp_path)  # and it is free again


def test_another_configuration_is_refused_with_what_differs(tmp_path):
    write_run(tmp_path)
    before = (tmp_path / "run.json").read_bytes()
    other = {"config": {"evaluation": {"prompts": 16, "batch_size": 4, "seed": 1}, "models": {}}}
    with pytest.raises(ResultSetError) as caught:
        ResultSet.open(tmp_path, other, ORDER)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert "evaluation.prompts is 8 there and 16 now" in message
    assert "evaluation.seed is not set there and 1 now" in message
    assert "batch_size" not in message
    assert "another --out" in message
    assert (tmp_path / "run.json").read_bytes() == before
    write_run(tmp_path, ids=())  # a refused run holds no lock


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("thesis.tex", "my work", "thesis.tex is in it"),
        ("run.json", "not JSON", "cannot be read"),
        ("run.json", '{"program": "another"}', "not written by diffharness"),
        ("run.json", '{"schema_version": 3, "config": {}, "prompt_ids": []}', "schema_version is 3, .* reads 4 and 5"),
        ("run.json", '{"schema_version": 99, "config": {}, "prompt_ids": []}', "schema_version is 99"),
    ],
)
def test_a_foreign_folder_is_refused_and_left_as_it_is(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ResultSetError, match=message):
        ResultSet.open(tmp_path, INFO, ORDER)
    with pytest.raises(ResultSetError, match=message):
        ResultSet.load(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, content)]


def test_a_folder_that_cannot_be_is_named(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ResultSetError, match="this is a file"):
        ResultSet.open(file, INFO, ORDER)
    with pytest.raises(ResultSetError, match=r"cannot be written.*--out"):
        ResultSet.open(file / "below", INFO, ORDER)
    with pytest.raises(ResultSetError, match="there is no such folder"):
        ResultSet.load(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResultSetError, match="the folder is empty"):
        ResultSet.load(tmp_path / "empty")


def test_a_record_is_replaced_with_all_its_rows(tmp_path):
    write_run(tmp_path)
    with ResultSet.open(tmp_path, INFO, ORDER) as results:
        results.reopen(["a", "b", "never there"])
        assert results.finished() == {"c"}
        results.append(judged(unmeasured(Status.TIMEOUT, prompt_id="a"), STRICT), batches(1), [])
        assert [kept.status for kept in ResultSet.load(tmp_path)] == ["measured", "timeout", "measured"]
    assert column(tmp_path, "pairs", "prompt_id") == ["c", "a", "b"]
    assert column(tmp_path, "batches", "prompt_id") == ["c"] * 4 + ["a"] * 2 + ["b"] * 4
    assert column(tmp_path, "images", "prompt_id") == ["c"] * 8 + ["b"] * 8
    with ResultSet.open(tmp_path, INFO, ORDER) as results:
        assert results.finished() == {"a", "b", "c"}, "a pair whose new record never came keeps the old one"


def test_a_record_of_a_killed_run_is_replaced_too(tmp_path):
    killed = ResultSet.open(tmp_path, INFO, ORDER)
    killed.append(record(prompt_id="a"), batches(), images())
    os.close(killed._lock)
    with ResultSet.open(tmp_path, INFO, ORDER) as results:
        results.reopen(["a"])
        results.append(record(prompt_id="a", log="new"), [], [])
    assert column(tmp_path, "pairs", "log") == ["new"]
    assert column(tmp_path, "images", "prompt_id") == []


@contextmanager
def full_disk():
    """While it is entered, no file grows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_ends_in_one_line_and_keeps_what_is_finished(tmp_path):
    said = rf"^{tmp_path}: cannot be written: .*File too large.* What is finished is kept"
    with pytest.raises(ResultSetError, match=said), ResultSet.open(tmp_path, INFO, ORDER) as results:
        results.append(record(prompt_id="a"), batches(), images())
        with full_disk():
            with pytest.raises(ResultSetError, match=said):
                results.append(record(prompt_id="b"), batches(), images())
            results.finalise()
    with pytest.raises(ResultSetError, match=said), full_disk():
        ResultSet.open(tmp_path, INFO, ORDER)
    with ResultSet.open(tmp_path, INFO, ORDER) as results:
        assert results.finished() == {"a"}


@pytest.mark.parametrize("wrong", [{"images": True}, {"images": 10**400}, {"wall_s": 10**400}, {"turn": "first"}])
def test_values_that_no_table_holds_are_said_and_leave_nothing_behind(tmp_path, wrong):
    rows = [dataclasses.replace(batches(1)[0], **wrong)]
    with ResultSet.open(tmp_path, INFO, ORDER) as results:
        with pytest.raises(UnstorableError, match="the values of pair a cannot be stored"):
            results.append(record(prompt_id="a"), rows, images())
        results.append(record(prompt_id="a"), [], [])
    assert column(tmp_path, "images", "prompt_id") == []


# Kills


class Cut(BaseException):
    """Ends a run as a kill does: nothing that the run would still do is done."""


def cut_after(patch, count):
    """Let the first `count` files or folders be synced or removed, and end the run at the next."""
    left = iter(range(count))

    def cutting(original):
        def step(path):
            if next(left, None) is None:
                raise Cut
            original(path)

        return step

    sync = cutting(durable.sync)
    for name in ("harness.durable.sync", "harness.result_set.sync"):
        patch.setattr(name, sync)
    patch.setattr("harness.result_set.shutil.rmtree", cutting(shutil.rmtree))


@pytest.mark.parametrize("count", range(23))
def test_a_kill_at_any_moment_loses_nothing_that_was_finished(tmp_path, monkeypatch, count):
    appended = []
    with monkeypatch.context() as patch:
        cut_after(patch, count)
        results = None
        try:
            results = ResultSet.open(tmp_path, INFO, ORDER)
            for prompt_id in ("a", "c"):
                results.append(record(prompt_id=prompt_id), batches(), images())
                appended.append(prompt_id)
            results.finalise()
        except Cut:
            pass
        if results is not None:
            os.close(results._lock)
    with ResultSet.open(tmp_path, INFO, ORDER) as again:
        assert set(appended) <= again.finished()
        for prompt_id in {"a", "c"} - again.finished():
            again.append(record(prompt_id=prompt_id), batches(), images())
    assert column(tmp_path, "pairs", "prompt_id") == ["c", "a"]
    assert column(tmp_path, "batches", "turn") == [0, 1, 2, 3] * 2
    assert column(tmp_path, "images", "position") == [0, 1, 2, 3] * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".lock",
        "batches.parquet",
        "evaluation_results.json",
        "images.parquet",
        "pairs.parquet",
        "run.json",
    ]


@pytest.mark.parametrize("count", range(16))
def test_a_kill_while_a_record_is_replaced_leaves_the_old_one_or_the_new(tmp_path, monkeypatch, count):
    write_run(tmp_path, ids=["a", "b"])
    replaced = False
    with monkeypatch.context() as patch:
        cut_after(patch, count)
        results = None
        try:
            results = ResultSet.open(tmp_path, INFO, ORDER)
            results.reopen(["a"])
            results.append(record(prompt_id="a", log="new"), batches(1), [])
            replaced = True
            results.finalise()
        except Cut:
            pass
        if results is not None:
            os.close(results._lock)
    write_run(tmp_path, ids=())
    log, _ = column(tmp_path, "pairs", "log")
    assert log == "new" if replaced else log in ("", "new")
    rows = (["a"] * 2, []) if log == "new" else (["a"] * 4, ["a"] * 8)
    assert column(tmp_path, "batches", "prompt_id") == [*rows[0], *["b"] * 4]
    assert column(tmp_path, "images", "prompt_id") == [*rows[1], *["b"] * 8]


def test_a_part_that_cannot_be_read_is_no_finished_pair(tmp_path):
    results = ResultSet.open(tmp_path, INFO, ORDER)
    for prompt_id in ("a", "b"):
        results.append(record(prompt_id=prompt_id), batches(), images())
    os.close(results._lock)
    torn = next(part for part in (tmp_path / "parts").iterdir() if "a" in part_ids(part))
    (torn / "images.parquet").write_bytes((torn / "images.parquet").read_bytes()[:100])
    with ResultSet.open(tmp_path, INFO, ORDER) as again:
        assert again.finished() == {"b"}
        again.append(record(prompt_id="a"), batches(), images())
    assert column(tmp_path, "images", "prompt_id") == ["a"] * 8 + ["b"] * 8


def part_ids(part):
    return pq.ParquetFile(part / "pairs.parquet").read()["prompt_id"].to_pylist()


def test_a_killed_process_keeps_its_pairs_and_frees_the_folder(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.harness.test_records import INFO, ORDER, ResultSet, record, batches, images\n"
        "results = ResultSet.open(Path(sys.argv[1]), INFO, ORDER)\n"
        "results.append(record(prompt_id='a'), batches(), images())\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    root = Path(__file__).parents[2]
    assert subprocess.run(command, cwd=root, timeout=60).returncode == -signal.SIGKILL
    with ResultSet.open(tmp_path, INFO, ORDER) as results:
        assert results.finished() == {"a"}


# From an outcome to its record

TASK = Task(
    prompt_id="7",
    context="At least 1.5x faster.",
    difficulty=Difficulty.HARD,
    level=4,
    reference_file=Path("/tasks/reference.py"),
    baseline_file=Path("/tasks/baseline.py"),
    requirement=Requirement(speedup=1.5),
)
PAIR = Pair(TASK, Path("/tasks/candidate.py"))
STATED = ModelConfig("StableDiffusionPipeline", "tiny", None, 50, ("tome",))
LIVE = ModelConfig("StableDiffusionPipeline", None, "DDIMScheduler", 50, ("deepcache",))
SOURCES = Sources(
    baseline=SourceFacts("b" * 64, STATED),
    candidate=SourceFacts("c" * 64, STATED),
    reference=SourceFacts("r" * 64, STATED),
)
MACHINE = Machine("node-1", "NVIDIA H100 80GB HBM3", "GPU-1", "bwrap", "cgroup v2", "ViT-L-14 0123", {"torch": "2.6.0"})


def outcome(**changes):
    fields = {
        "pair": "7",
        "attempt": 2,
        "status": Status.MEASURED,
        "detail": "",
        "machine": MACHINE,
        "baseline": SideReport(STATED, 2.5, (9.0, 4.5), steady=True, warm_from_before=True),
        "candidate": SideReport(LIVE, 3.5, (7.0, 2.5), steady=True),
        "batches": tuple(batches(3)),
        "images": tuple(images(12)),
        "layout": Layout.INTERLEAVED,
        "stopped": Stopped.BOUND,
        "wall_s": 41.0,
        "idle_s": 0.5,
    }
    return Outcome(**{**fields, **changes})


DESIGN = SequentialDesign(0.9, planned=3, rare_losses=RareLosses.ASSUME_NONE)


def made(of=PAIR, sources=SOURCES, design=DESIGN, **changes):
    return make_record(of, sources, outcome(**changes), STRICT, design, NOW)


def test_a_measured_outcome_becomes_figures_and_a_verdict():
    kept = made()
    assert (kept.verdict, kept.status) == (Verdict.PASS, Status.MEASURED)
    assert kept.speedup == pytest.approx(2.0)
    assert kept.speedup_low == pytest.approx(2.0 * math.exp(-0.0013)), "the candidate was started last"
    assert kept.baseline_seconds_per_image == pytest.approx(1.1)
    assert kept.candidate_seconds_per_image == pytest.approx(0.55)
    assert kept.baseline_clip == pytest.approx(35.5)
    assert kept.quality_loss == pytest.approx(0.5 / 35.5)
    assert (kept.batches_measured, kept.images_measured, kept.confidence) == (3, 12, 0.9)
    assert (kept.baseline_denoiser_calls, kept.baseline_peak_memory_bytes) == (50, None)
    assert (kept.baseline_warmup_s, kept.candidate_load_s, kept.baseline_warm_from_before) == ((9.0, 4.5), 3.5, True)
    assert (kept.req_speedup, kept.difficulty, kept.achievement_rate) == (1.5, "hard", 1.0)
    assert (kept.finished_at - kept.started_at).total_seconds() == 41.0
    assert (kept.device, kept.versions, kept.attempt) == ("NVIDIA H100 80GB HBM3", {"torch": "2.6.0"}, 2)


def test_the_intervals_allow_for_the_looks_that_were_planned():
    rows = [dataclasses.replace(row, wall_s=row.wall_s * (1 + 0.01 * row.turn)) for row in batches(6)]
    few, many = (
        made(batches=tuple(rows), images=tuple(images(24)), design=SequentialDesign(0.95, planned=planned))
        for planned in (6, 32)
    )
    assert few.speedup == many.speedup
    assert many.speedup_low < few.speedup_low < few.speedup
    early = made(batches=tuple(batches(2)), images=tuple(images(8)))
    assert (early.speedup, early.speedup_low) == (pytest.approx(2.0), None)


def test_what_was_disturbed_and_repeated_is_counted_and_not_judged():
    first, *rest = [(rows[0], rows[1]) for rows in zip(batches(4)[::2], batches(4)[1::2], strict=True)]
    spoilt = [dataclasses.replace(row, judged=False, wall_s=99.0, marks=(Mark.THROTTLED,)) for row in first]
    slow = [dataclasses.replace(row, marks=(Mark.FOREIGN_PROCESS,)) for row in rest[0]]
    kept = made(batches=(*spoilt, *slow, *(row for pair in rest[1:] for row in pair)))
    assert (kept.batches_measured, kept.batches_repeated, kept.batches_marked) == (3, 1, 1)
    assert kept.speedup == pytest.approx(2.0)
    assert kept.timed_s == pytest.approx(3 * 6.6)


def in_blocks(seconds):
    """Batches in blocks of two, in each of which the candidate takes so long."""
    return tuple(
        dataclasses.replace(
            row, block=row.batch // 2, wall_s=4.4 if row.side is Side.BASELINE else seconds[row.batch // 2]
        )
        for row in batches(2 * len(seconds))
    )


def test_blocks_count_once_each_however_many_batches_they_have():
    design = dataclasses.replace(DESIGN, planned=6)
    seconds, layout = in_blocks([2.0, 2.2, 2.4]), Layout.BLOCKS
    kept = made(batches=seconds, images=tuple(images(24)), layout=layout, stretches_s=(1.1,) * 8, design=design)
    logs = np.log(4.4 / np.array([2.0, 2.2, 2.4]))
    half = scipy.stats.t.ppf(0.95, 2) * logs.std(ddof=1) / math.sqrt(3) * math.sqrt(1.25 / (1 - 0.25 / 2))
    assert kept.speedup == pytest.approx(math.exp(logs.mean()))
    assert kept.speedup_low == pytest.approx(math.exp(logs.mean() - half))
    assert kept.candidate_seconds_per_image_low < 0.55 < kept.candidate_seconds_per_image_high


def test_what_was_measured_in_turns_before_the_blocks_was_not_repeated():
    crowded = [dataclasses.replace(row, batch=9, judged=False) for row in batches(1)]
    kept = made(batches=(*crowded, *in_blocks([2.2] * 3)), layout=Layout.BLOCKS)
    assert (kept.batches_measured, kept.batches_repeated) == (6, 0)


def test_burn_in_is_stored_and_neither_judged_nor_a_repeat():
    first = [dataclasses.replace(row, batch=9, judged=False, marks=(Mark.BURN_IN,), wall_s=99.0) for row in batches(1)]
    kept = made(batches=(*first, *batches(3)))
    assert (kept.batches_measured, kept.batches_repeated, kept.batches_marked) == (3, 0, 0)
    assert kept.speedup == pytest.approx(2.0)


def test_rare_losses_are_bounded_by_what_the_images_say_that_one_can_lose():
    bounded = made(design=dataclasses.replace(DESIGN, rare_losses=RareLosses.BOUND))
    mean_of_others = sum(3.0 + index / 10 for index in range(12)) / 12
    assert bounded.largest_loss == pytest.approx(1 - mean_of_others / 35.5)
    assert (bounded.verdict, bounded.reason) == (Verdict.INCONCLUSIVE, Reason.QUALITY)
    assert "12 images cannot exclude rare losses of up to 90% an image" in bounded.detail
    assumed = made()
    assert (assumed.verdict, assumed.rare_losses) == (Verdict.PASS, RareLosses.ASSUME_NONE)
    assert "(rare_losses: assume_none)" in assumed.detail


def test_a_calibration_makes_the_interval_cover_restarts():
    rows = tuple(dataclasses.replace(row, wall_s=row.wall_s * (1 + 0.01 * row.turn)) for row in batches(3))
    bare, wide = (
        made(batches=rows, design=dataclasses.replace(DESIGN, spread=spread))
        for spread in (None, StartSpread(0.02, 7, 0.003))
    )
    assert (bare.covers_restarts, wide.covers_restarts) == (False, True)
    assert (wide.starts, wide.start_std, wide.start_df, wide.start_order_effect) == (1, 0.02, 7, 0.003)
    assert (bare.start_std, bare.start_order_effect) == (None, START_ORDER_EFFECT)
    assert wide.speedup == bare.speedup
    assert wide.speedup_low < bare.speedup_low


def test_without_a_calibration_several_starts_cover_restarts():
    rows = tuple(dataclasses.replace(row, block=row.batch) for row in batches(3))
    kept = made(batches=rows, design=dataclasses.replace(DESIGN, starts=3))
    assert (kept.covers_restarts, kept.starts) == (True, 3)
    assert kept.speedup_low is not None


def test_a_latency_has_an_interval_if_the_baseline_was_timed_at_other_moments():
    none, some = made(), made(stretches_s=(1.0, 1.1, 1.2, 1.1, 1.0, 1.2, 1.1, 1.1))
    assert (none.candidate_seconds_per_image_low, none.baseline_stretches_s) == (None, None)
    assert some.candidate_seconds_per_image_low < 0.55 < some.candidate_seconds_per_image_high
    assert len(some.baseline_stretches_s) == 8


def test_the_figures_of_a_record_are_found_again_in_its_rows():
    kept = made(stretches_s=(1.0, 1.1, 1.2, 1.1, 1.0, 1.2, 1.1, 1.1))
    changed = dataclasses.replace(kept, speedup=9.0, speedup_low=8.0, quality_loss_high=0.5)
    assert refigured(changed, batches(3), images(12)) == kept
    failed = made(status=Status.TIMEOUT, detail="late")
    assert refigured(failed, batches(3), images(12)) == failed
    with pytest.raises(ValueError, match="no image"):
        refigured(kept, batches(3), [])


def test_what_each_side_cost():
    profile = Profile(gpu_s=1.1, launches=5_000, top_kernels=(("gemm", 0.5), ("softmax", 0.25)))
    compiled = dataclasses.replace(LIVE, methods=("torch_compile",))
    rows = tuple(dataclasses.replace(row, energy_j=100.0 if row.side is Side.BASELINE else 60.0) for row in batches(3))
    kept = made(
        batches=rows,
        baseline=SideReport(STATED, 2.5, (9.0, 4.5), steady=True, profile=profile),
        candidate=SideReport(compiled, 3.5, (60.0, 32.5, 2.5, 2.5), steady=True),
    )
    assert (kept.baseline_energy_per_image_j, kept.candidate_energy_per_image_j) == (25.0, 15.0)
    assert (kept.baseline_gpu_busy, kept.launch_bound) == (pytest.approx(0.25), True)
    assert (kept.baseline_launches_per_step, kept.baseline_top_kernels) == (100.0, {"gemm": 0.5, "softmax": 0.25})
    assert (kept.candidate_gpu_busy, kept.candidate_top_kernels) == (None, None)
    assert (kept.baseline_compile_s, kept.candidate_compile_s) == (None, 57.5 + 30.0)
    unread = made(batches=(dataclasses.replace(rows[0], energy_j=None), *rows[1:]))
    assert unread.baseline_energy_per_image_j is None


def test_a_sides_configuration_is_the_live_one_and_the_source_where_that_is_silent():
    kept = made()
    assert kept.candidate_scheduler_class == "DDIMScheduler"
    assert kept.candidate_model_id == "tiny"
    assert kept.candidate_methods == ("deepcache", "tome")
    assert (kept.reference_file, kept.reference_sha256) == ("/tasks/reference.py", "r" * 64)
    assert kept.reference_scheduler_class is None


def test_a_method_that_a_child_made_up_is_none():
    liar = dataclasses.replace(LIVE, methods=("deepcache", "\x1b[31mten times faster", "x" * 10_000))
    assert made(candidate=SideReport(liar, 3.5, (7.0, 2.5), steady=True)).candidate_methods == ("deepcache", "tome")


def test_a_broken_off_pair_has_no_figures_but_says_how_far_it_came():
    kept = made(
        status=Status.TIMEOUT,
        detail="a call took more than 300 s",
        batches=tuple(batches(3)[:5]),
        images=(),
        log="slow",
    )
    assert (kept.verdict, kept.reason, kept.detail) == (Verdict.FAIL, Reason.ERROR, "a call took more than 300 s")
    assert (kept.speedup, kept.candidate_clip, kept.achievement_rate) == (None, None, 0.0)
    assert (kept.batches_measured, kept.images_measured, kept.log) == (2, 0, "slow")


@pytest.mark.parametrize(
    "changes",
    [
        {"batches": ()},
        {"images": ()},
        {"batches": (*batches(2), batches(1)[0])},
        {"batches": tuple(row for row in batches(2) if row.side is Side.BASELINE)},
    ],
)
def test_a_measured_outcome_without_sound_values_is_the_harnesss_fault(changes):
    kept = made(**changes)
    assert (kept.status, kept.verdict, kept.speedup) == (Status.INFRASTRUCTURE, Verdict.INCONCLUSIVE, None)
    assert kept.detail.startswith("the measured values cannot be used: ")


def test_halves_of_pairs_have_records(tmp_path):
    unread = {"machine": None, "baseline": None, "candidate": None, "batches": (), "images": (), "wall_s": 0.0}
    no_candidate = made(
        Unpaired("7", TASK, None), Sources(), status=Status.MISSING_CANDIDATE, detail="no generated file", **unread
    )
    assert (no_candidate.verdict, no_candidate.candidate_file, no_candidate.req_speedup) == (Verdict.FAIL, None, 1.5)
    assert no_candidate.candidate_methods is None
    no_task = made(
        Unpaired("8", None, Path("gen.py")), Sources(), pair="8", status=Status.MISSING_TASK, detail="no task", **unread
    )
    assert (no_task.prompt_id, no_task.verdict, no_task.difficulty) == ("8", Verdict.INCONCLUSIVE, None)
    assert (no_task.candidate_file, no_task.started_at) == ("gen.py", NOW)
    with ResultSet.open(tmp_path, INFO, ["7", "8"]) as results:
        results.append(no_candidate, [], [])
        results.append(no_task, [], [])
    assert ResultSet.load(tmp_path) == [no_candidate, no_task]


def test_the_schema_version_is_that_of_the_page():
    page = (Path(__file__).parents[2] / "docs" / "records.md").read_text(encoding="utf-8")
    assert f"this page describes version {records.SCHEMA_VERSION}" in page
