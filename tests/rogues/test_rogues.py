"""Every rogue ends as the table in README.md says, nothing of it is left, and the next honest pair is none the worse.

On the strongest tier of the machine; a selection on the weaker ones, and as an ordinary user.
"""

import os
import statistics
import tempfile
from dataclasses import replace

import pytest

from actors.gpu_actor import GpuActor
from actors.messages import SandboxSpec, ScorerSpec, Sign, Status
from actors.sandbox import TIERS, tier_problem
from harness.embedded import EMBEDDED_SCORERS
from tests.rogues.corpus import (
    HONEST_FILE,
    LIBRARY,
    Row,
    ended_as,
    header,
    job,
    limits_of,
    model_files,
    read_table,
    record_of,
)
from tests.rogues.surroundings import SECRET, Surroundings, left_in_the_end

CLIP = ScorerSpec(f"local-dir:{EMBEDDED_SCORERS['diffharness/tiny-shapes-clip']}")
PREIMPORTS = ("torch", "torch._dynamo")  # the second is what hooking the U-Net imports
TABLE = read_table()
AS_USER = "ROGUES_AS_USER" in os.environ
EVERY = 10  # pairs between two full measurements of the honest one
APART = 1.15  # two processes of one file may differ that much on a busy machine
HONEST = Row("honest/baseline.py", "", ("measured",), "", ())
ENDINGS = {"harmless", "quality", "measured", "undetected", *(status.value for status in Status)}

# What waits for another part of the work; empty in the end.
WAITING: dict[str, str] = {}


class Bench:
    """One actor on one tier, its warm baseline, and what surrounds them."""

    def __init__(self, tier: str, folder) -> None:
        self.tier, self.pairs = tier, 0
        self.surroundings = Surroundings(folder)
        environment = {**self.surroundings.environment, "PYTHONPATH": str(LIBRARY)}
        spec = SandboxSpec((tier,), {}, (str(LIBRARY),), environment, threads=1, preimports=PREIMPORTS)
        self.actor = GpuActor(spec, CLIP, "cpu 0", gpu=False)
        self.actor._room = 1  # the next rogue's child imports meanwhile
        self.honest = self.measure(HONEST)[1]
        assert self.honest.status is Status.MEASURED, f"{self.honest.detail}\n{self.honest.log}"
        self.seconds, self.pixels = zip(*(self.ask_baseline() for _ in range(3)), strict=True)

    def measure(self, row: Row):
        """The outcome and the record of one pair."""
        self.pairs += 1
        for child in self.actor._spares:  # started for the pair before
            child.limits = replace(child.limits, **time_limits(row))
        outcome = self.actor.measure(job(row), more_to_come=1)
        return outcome, record_of(outcome)

    def ask_baseline(self):
        """Seconds and pixels of the warm baseline for a fixed batch."""
        assert self.actor._kept is not None, "the baseline was lost"
        row, pixels = self.actor._kept[1].call(job(HONEST).plan.batches[0], 0, 0, "call_s")
        return row.wall_s, pixels.tobytes()

    def children(self) -> list[set[int]]:
        """The processes of each child that may live on."""
        kept = [self.actor._kept[1].child] if self.actor._kept else []
        return [set(child.pids()) for child in (*kept, *self.actor._spares)]

    def require_well(self) -> None:
        """Nothing is left of the last rogue, and the baseline answers as it did before."""
        assert not left_in_the_end(self.surroundings, self.children())
        seconds, pixels = self.ask_baseline()
        assert pixels == self.pixels[0]
        assert seconds < 5 * statistics.median(self.seconds) + 0.5
        if self.pairs % EVERY == 0:
            self.require_same_speed()

    def require_same_speed(self) -> None:
        """The honest pair's interval agrees with the one before."""
        record = self.measure(HONEST)[1]
        assert record.status is Status.MEASURED, record.detail
        assert record.speedup_low <= self.honest.speedup_high * APART
        assert self.honest.speedup_low <= record.speedup_high * APART

    def close(self) -> None:
        self.actor.close()
        left = left_in_the_end(self.surroundings, [])
        self.surroundings.close()
        assert not left


@pytest.fixture(scope="module")
def bench(tmp_path_factory, request):
    """The actor of one tier."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp(request.param)
    folder.chmod(0o755)
    patch.setattr(tempfile, "tempdir", str(folder))  # where children of the weaker tiers have their working folders
    patch.setenv("CORPUS_SECRET", SECRET)
    made = Bench(request.param, folder)
    yield made
    made.require_same_speed()
    made.close()
    patch.undo()


def time_limits(row: Row) -> dict[str, float]:
    return {name: getattr(limits_of(row), name) for name in ("load_s", "warmup_s", "call_s")}


def strongest() -> str:
    return next(tier for tier in TIERS if tier_problem(tier) is None)


def cases() -> list:
    """Each row on the strongest tier, and on the weaker ones that it names."""
    found = []
    for tier in TIERS:
        for row in TABLE:
            promised = tier == "bwrap" or tier in row.also
            if not promised or (tier != strongest() and tier not in row.also) or (AS_USER and "user" not in row.also):
                continue
            marks = [pytest.mark.skip(reason=f"waits for {WAITING[row.file]}")] if row.file in WAITING else []
            problem = tier_problem(tier)
            marks += [pytest.mark.skip(reason=problem)] if problem else []
            found.append(pytest.param(tier, row, marks=marks, id=f"{tier}-{row.file.removesuffix('.py')}"))
    return found


@pytest.mark.parametrize(("bench", "row"), cases(), indirect=["bench"])
def test_a_rogue_ends_as_the_table_says_and_leaves_nothing(bench, row):
    outcome, record = bench.measure(row)
    honest = max(bench.honest.speedup_high, 1.0) * APART
    signs = [f"{finding.sign}: {finding.evidence}" for finding in outcome.findings]
    told = f"{outcome.status}: {record.detail}; {signs}; {record.speedup_low} to {record.speedup_high}\n{outcome.log}"
    if "undetected" not in row.becomes:
        assert any(ended_as(becomes, row.says, outcome, record, honest) for becomes in row.becomes), told
    if not row.is_honest and "undetected" not in row.becomes:
        assert not record.passed, told
    bench.require_well()


def test_every_model_file_has_a_row_and_every_row_a_file():
    assert sorted(row.file for row in TABLE) == model_files()
    assert len([row for row in TABLE if not row.is_honest]) >= 60
    assert len([row for row in TABLE if row.is_honest]) >= 10


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.file)
def test_the_table_says_what_the_file_says(row):
    assert header(row.file) == row.tries
    assert set(row.becomes) <= ENDINGS
    assert set(row.also) <= {*TIERS, "user"}
    if "rejected" in row.becomes:
        Sign(row.says)
    assert row.becomes == ("measured",) or not row.is_honest
    assert HONEST_FILE.exists()
