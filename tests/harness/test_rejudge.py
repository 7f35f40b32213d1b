"""Result sets judged again: those of an older version, with other limits, and without their raw values."""

import dataclasses
import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from actors.messages import Layout, Side, Status, Stopped
from harness import cli
from harness.evaluation import Sources, make_record
from harness.figures import SequentialDesign
from harness.judge import judged
from harness.records import VERSION_KEY, Protocol, RareLosses, Reason, Verdict
from harness.rejudge import intervals_of_passed, rejudge
from harness.requirement import Requirement
from harness.result_set import ResultSet
from harness.run_info import ResultSetError
from harness.stats import StartSpread
from harness.tasks import Difficulty, Pair, Task
from tests.harness.record_samples import STRICT, batches, images, record, unmeasured
from tests.harness.test_records import outcome

INFO = {"config": {"evaluation": {"max_quality_loss": 0.05, "protocol": "strict"}}}
NEW_COLUMNS = {
    "pairs": [
        "largest_loss",
        "baseline_stretches_s",
        "rare_losses",
        "starts",
        "start_std",
        "start_df",
        "start_order_effect",
        "covers_restarts",
    ],
    "batches": ["block", "started_last"],
    "images": ["mismatched_clip"],
}
ROWS, IMAGES = batches(4), images(16)  # twice as fast, without noise; every image loses 0.5


def stored(folder, *records, rows=ROWS, of_images=IMAGES):
    """A result set of these records, each with these rows."""
    with ResultSet.open(folder, INFO, [one.prompt_id for one in records]) as results:
        for one in records:
            results.append(one, rows, of_images)
    return folder


def old(folder, *records, **rows):
    """The same as version 4 wrote it."""
    stored(folder, *records, **rows)
    for name, columns in NEW_COLUMNS.items():
        table = pq.ParquetFile(folder / f"{name}.parquet").read().drop_columns(columns)
        if name == "pairs":
            table = table.append_column("drift", pa.nulls(len(table), pa.float64()))
        pq.write_table(table.replace_schema_metadata({VERSION_KEY: b"4"}), folder / f"{name}.parquet")
    info = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**info, "schema_version": 4}))
    return folder


def again(folder, **limits):
    """The one pair of a result set, judged again."""
    (pair,) = rejudge(folder, **limits)
    return pair


def test_intervals_of_passed_pairs_allow_for_their_selection(tmp_path):
    noisy = [dataclasses.replace(row, wall_s=row.wall_s * (1 + 0.01 * (row.turn % 3))) for row in batches(8)]
    passed = record(prompt_id="passed", rare_losses=RareLosses.ASSUME_NONE)
    failed = judged(unmeasured(Status.TIMEOUT, prompt_id="failed"), STRICT)
    missed = record(prompt_id="missed", req_speedup=3.0)
    stored(tmp_path, passed, failed, missed, rows=noisy)
    ((name, (low, high)),) = intervals_of_passed(tmp_path).items()
    usual = again_of(tmp_path, "passed")
    assert name == "passed"
    assert low < usual.speedup_low < usual.speedup_high < high


def again_of(folder, name):
    """One pair of several, judged again."""
    return next(pair.after for pair in rejudge(folder) if pair.before.prompt_id == name)


def test_what_an_older_version_did_not_store_is_null(tmp_path):
    old(tmp_path, record())
    (kept,) = ResultSet.load(tmp_path)
    assert kept == dataclasses.replace(record(), **dict.fromkeys(NEW_COLUMNS["pairs"]))
    ((_, rows, of_images),) = ResultSet.measurements(tmp_path)
    assert rows == [dataclasses.replace(row, block=None, started_last=None) for row in ROWS]
    assert of_images == [dataclasses.replace(image, mismatched_clip=None) for image in IMAGES]


def test_a_column_that_was_never_null_may_not_be_missing(tmp_path):
    stored(tmp_path, record())
    table = pq.ParquetFile(tmp_path / "pairs.parquet").read()
    pq.write_table(table.drop_columns(["verdict"]), tmp_path / "pairs.parquet")
    with pytest.raises(ResultSetError, match=r"pairs\.parquet: cannot be read"):
        ResultSet.load(tmp_path)


def test_an_older_result_set_is_not_continued(tmp_path):
    old(tmp_path, record())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ResultSetError, match=r"run\.json: schema_version is 4.* not be continued.* another --out"):
        ResultSet.open(tmp_path, INFO, ["7"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_rare_losses_count_in_an_older_result_set_too(tmp_path):
    pair = again(old(tmp_path, record()))
    assert (pair.before.verdict, pair.after.verdict, pair.after.reason) == (
        Verdict.PASS,
        Verdict.INCONCLUSIVE,
        Reason.QUALITY,
    )
    assert pair.changed
    assert (pair.after.largest_loss, pair.after.rare_losses, pair.after.covers_restarts) == (1.0, "bound", False)
    assert "16 images cannot exclude rare losses of up to 100% an image" in pair.after.detail
    assert pair.after.detail.endswith("did not store how much an image can lose, so 100% is taken")


def test_who_takes_rare_losses_for_absent_says_so(tmp_path):
    pair = again(old(tmp_path, record()), rare_losses=RareLosses.ASSUME_NONE)
    assert (pair.after.verdict, pair.changed) == (Verdict.PASS, False)
    assert pair.after.rare_losses is RareLosses.ASSUME_NONE
    assert "(rare_losses: assume_none)" in pair.after.detail


def test_an_older_latency_has_no_interval_and_says_why(tmp_path):
    asked = record(req_speedup=None, req_latency_s=0.7)
    pair = again(old(tmp_path, asked), rare_losses=RareLosses.ASSUME_NONE)
    assert (pair.after.verdict, pair.after.reason) == (Verdict.INCONCLUSIVE, Reason.LATENCY)
    assert pair.after.candidate_seconds_per_image_low is None
    assert pair.after.detail.endswith(
        "against 0.700 s: there is no interval, since an older version did not time the baseline at other moments"
    )


def test_older_blocks_have_no_interval_and_say_why(tmp_path):
    rows = [*ROWS, *(row for row in ROWS if row.side is Side.BASELINE)]  # the baseline's second block
    pair = again(old(tmp_path, record(layout=Layout.BLOCKS), rows=rows))
    assert (pair.after.verdict, pair.after.speedup, pair.after.speedup_low) == (Verdict.INCONCLUSIVE, 1.62, None)
    assert pair.after.detail.endswith("no interval, since an older version measured three blocks, which are too few")
    assert "more batches" not in pair.after.detail


@pytest.mark.parametrize(
    ("rows", "of_images", "said"),
    [([], IMAGES, "timed more often"), (ROWS[:-1], IMAGES, "on one side alone"), (ROWS, [], "no image was scored")],
)
def test_without_its_raw_values_a_pair_keeps_the_figures_that_were_stored(tmp_path, rows, of_images, said):
    pair = again(old(tmp_path, record(), rows=rows, of_images=of_images))
    assert (pair.after.verdict, pair.after.speedup_low) == (Verdict.PASS, 1.58)
    assert "the figures are those that were stored, since they cannot be computed again" in pair.after.detail
    assert said in pair.after.detail


def test_what_was_not_measured_stays_as_it_is(tmp_path):
    failed = judged(unmeasured(Status.TIMEOUT, "late"), STRICT)
    pair = again(stored(tmp_path, failed, rows=ROWS[:1], of_images=[]))
    assert pair.after == failed


def test_judging_a_result_set_of_today_again_changes_nothing(tmp_path):
    design = SequentialDesign(0.95, 4, spread=StartSpread(0.01, 7, 0.002), rare_losses=RareLosses.ASSUME_NONE)
    rows = tuple(dataclasses.replace(row, wall_s=row.wall_s * (1 + 0.01 * row.turn)) for row in ROWS)
    ended = outcome(batches=rows, images=tuple(IMAGES), stretches_s=(1.0, 1.1) * 4, stopped=Stopped.BOUND)
    task = Task("7", "", Difficulty.EASY, None, tmp_path, tmp_path, Requirement(speedup=1.5))
    made = make_record(Pair(task, tmp_path), Sources(), ended, STRICT, design, datetime(2026, 1, 1, tzinfo=UTC))
    pair = again(stored(tmp_path / "set", made, rows=rows))
    assert pair.after == pair.before == made


def test_other_limits_go_before_those_of_the_run(tmp_path):
    stored(tmp_path, record(rare_losses=RareLosses.ASSUME_NONE))
    assert again(tmp_path).after.verdict is Verdict.PASS
    assert again(tmp_path, max_quality_loss=0.01).after.reason is Reason.QUALITY
    fixed = again(tmp_path, protocol=Protocol.FIXED).after
    assert (fixed.protocol, fixed.verdict) == (Protocol.FIXED, Verdict.PASS)


def test_the_command_says_which_verdicts_changed_and_leaves_the_result_set(tmp_path):
    failed = judged(unmeasured(Status.TIMEOUT, "late", prompt_id="8"), STRICT)
    old(tmp_path, record(), failed)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    done = CliRunner().invoke(cli.app, ["judge", str(tmp_path)])
    assert done.exit_code == 0, done.output
    said = done.stdout.splitlines()
    where = said.index("Verdicts that differ from those that were stored: 1 of 2")
    assert said[where + 1].startswith("7: PASS -> INCONCLUSIVE quality: quality loss 1.3% (")
    assert "are needed (or evaluation.rare_losses: assume_none); an older version" in said[where + 1]
    assert not said[where + 2].startswith("8: ")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_command_says_that_nothing_changed(tmp_path):
    stored(tmp_path, record(rare_losses=RareLosses.ASSUME_NONE))
    assert "No verdict differs" in CliRunner().invoke(cli.app, ["judge", str(tmp_path)]).stdout
    done = CliRunner().invoke(cli.app, ["judge", str(tmp_path), "--rare-losses", "bound"])
    assert "7: PASS -> INCONCLUSIVE quality" in done.stdout
