"""Every rogue ends as the table in README.md says, nothing of it is left, and the next honest pair is none the worse.

On the strongest tier of the machine; a selection on the weaker ones, and as an ordinary user.
"""

import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace

import pytest

from actors.gpu_actor import GpuActor
from actors.messages import Batch, SandboxSpec, ScorerSpec, Status
from actors.sandbox import TIERS, tier_problem
from harness.embedded import EMBEDDED_SCORERS
from tests.rogues.corpus import (
    CAPTIONS,
    LIBRARY,
    Row,
    ended_as,
    header,
    job,
    limits_of,
    model_files,
    read_table,
    record_of,
    signs_of,
    together,
)
from tests.rogues.surroundings import SECRET, Surroundings, left_in_the_end

pytestmark = pytest.mark.alone

CLIP = ScorerSpec(f"local-dir:{EMBEDDED_SCORERS['diffharness/tiny-shapes-clip']}")
PREIMPORTS = ("torch",)
TABLE = read_table()
AS_USER = "ROGUES_AS_USER" in os.environ
ALL = os.environ.get("ROGUES") == "all"
CANNOT = 77  # exit status: this machine has no mount namespaces
EVERY = 10  # pairs between two full measurements of the honest one
APART = 1.15  # two processes of one file may differ that much on a busy machine
QUESTION = Batch(tuple(caption for (caption,) in CAPTIONS[:2]), (1, 2))
HONEST = Row("honest/baseline.py", "", ("measured",), "", ())
NOTES_FOR_THE_NEXT = "replays/for_the_next_candidate.py"  # its own next life is the next candidate
ENDINGS = {"harmless", "quality", "measured", "undetected", *(status.value for status in Status)}

# What waits for another part of the work; empty in the end.
WAITING: dict[str, str] = {}


class Bench:
    """One actor on one tier, its warm baseline, and what surrounds them."""

    def __init__(self, tier: str, folder) -> None:
        self.tier, self.pairs, self.shared = tier, 0, None
        self.surroundings = Surroundings(folder)
        environment = {**self.surroundings.environment, "PYTHONPATH": str(LIBRARY)}
        spec = SandboxSpec((tier,), {}, (str(LIBRARY),), environment, threads=1, preimports=PREIMPORTS)
        self.actor = GpuActor(spec, CLIP, limits_of(HONEST), CAPTIONS, "cpu 0", gpu=False)
        self.actor._spares.room = 1  # the next rogue's child imports meanwhile
        self.honest = self.measure(HONEST)[1]
        assert self.honest.status is Status.MEASURED, f"{self.honest.detail}\n{self.honest.log}"
        self.seconds, self.pixels = zip(*(self.ask_baseline() for _ in range(3)), strict=True)

    def measure(self, row: Row, source: bytes | None = None):
        """The outcome and the record of one pair; `source`: in place of the row's file."""
        self.pairs += 1
        kept = [self.actor._kept[1].child] if self.actor._kept else []
        for child in (*kept, *self.actor._spares.children):  # started for the pair before
            child.limits = replace(child.limits, **time_limits(row))
        outcome = self.actor.measure(job(row, source), more_to_come=1)
        return outcome, record_of(outcome)

    def measure_with_others(self, row: Row):
        """The outcome and the record of one pair for all that reach for something at their import."""
        rows = [other for tier, other in CASES if tier == self.tier and is_import(other)]
        if self.shared is None and row in rows:
            self.shared = self.measure(*together(rows))
        return self.shared or self.measure(row)

    def ask_baseline(self):
        """Seconds and pixels of the warm baseline for a fixed batch; loaded anew where a pair in blocks ended it."""
        if self.actor._kept is None:
            assert self.measure(HONEST)[0].status is Status.MEASURED
        row, pixels = self.actor._kept[1].call(QUESTION, 0, 0, "call_s")
        return row.wall_s, pixels.tobytes()

    def children(self) -> list[set[int]]:
        """The processes of each child that may live on."""
        kept = [self.actor._kept[1].child] if self.actor._kept else []
        return [{child.process.pid, *child.pids()} for child in (*kept, *self.actor._spares.children)]

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
def bench_on(tmp_path_factory):
    """Gives the actor of a tier; one at a time, since the cases of a tier stand together."""
    patch = pytest.MonkeyPatch()
    opened: dict[str, Bench] = {}

    def give(tier: str) -> Bench:
        if tier not in opened:
            leave()
            folder = tmp_path_factory.mktemp(tier)
            folder.chmod(0o755)
            patch.setattr(tempfile, "tempdir", str(folder))  # of the weaker tiers' working folders
            patch.setenv("CORPUS_SECRET", SECRET)
            opened[tier] = Bench(tier, folder)
        return opened[tier]

    def leave() -> None:
        while opened:
            bench = opened.popitem()[1]
            try:
                bench.require_same_speed()
            finally:
                bench.close()

    yield give
    leave()
    patch.undo()


def time_limits(row: Row) -> dict[str, float]:
    return {name: getattr(limits_of(row), name) for name in ("load_s", "warmup_s", "call_s")}


def strongest() -> str:
    return next(tier for tier in TIERS if tier_problem(tier) is None)


def is_import(row: Row) -> bool:
    """Whether it tries what it tries at its import and must have changed nothing: all of these go into one child."""
    return row.file.startswith("reach/") and row.becomes == ("harmless",)


def chosen() -> list[tuple[str, Row]]:
    """Each row on the strongest tier, and on the weaker ones that it names."""
    found = []
    for tier in TIERS:
        for row in TABLE:
            promised = tier == "bwrap" or tier in row.also
            left_out = "user" not in row.also if AS_USER else "full" in row.also and not ALL
            if promised and not left_out and not (AS_USER and tier != strongest()):
                found.append((tier, row))
    return found


CASES = chosen()


def parameters() -> list:
    """The cases, with the reason where one cannot be tried."""
    found = []
    for tier, row in CASES:
        reasons = [f"waits for {WAITING[row.file]}"] if row.file in WAITING else []
        reasons += [problem] if (problem := tier_problem(tier)) else []
        marks = [pytest.mark.skip(reason=reason) for reason in reasons]
        found.append(pytest.param(tier, row, marks=marks, id=f"{tier}-{row.file.removesuffix('.py')}"))
    return found


def is_as_said(row: Row, bench: Bench, outcome, record) -> bool:
    """Whether a pair ended as the table says, and no rogue passed."""
    high = max(bench.honest.speedup_high, 1.0) * APART
    may_pass = row.is_honest or "undetected" in row.becomes
    return any(ended_as(one, row, outcome, record, high) for one in row.becomes) and (may_pass or not record.passed)


def test_what_one_candidate_was_asked_is_of_no_use_to_the_next(bench_on):
    row, bench = next(row for row in TABLE if row.file == NOTES_FOR_THE_NEXT), bench_on(strongest())
    bench.measure(row)
    outcome, record = bench.measure(row)
    assert is_as_said(row, bench, outcome, record), f"{outcome.status}: {record.speedup_low} to {record.speedup_high}"


@pytest.mark.parametrize(("tier", "row"), parameters())
def test_a_rogue_ends_as_the_table_says_and_leaves_nothing(bench_on, tier, row):
    bench = bench_on(tier)
    outcome, record = bench.measure_with_others(row) if is_import(row) else bench.measure(row)
    if is_import(row) and not is_as_said(row, bench, outcome, record):
        outcome, record = bench.measure(row)  # was it this one?
    signs = [f"{finding.sign}: {finding.evidence}" for finding in outcome.findings]
    told = f"{outcome.status}: {record.detail}; {signs}; {record.speedup_low} to {record.speedup_high}\n{outcome.log}"
    assert is_as_said(row, bench, outcome, record), told
    bench.require_well()


@pytest.mark.timeout(600)
@pytest.mark.skipif(AS_USER or os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_is_as_safe():
    """The rows marked `user`, in a mount namespace where an interpreter in root's home can be read."""
    command = as_user(
        [sys.executable, "-m", "pytest", __file__, "-o", "addopts=", "-p", "no:cacheprovider", "-k", "rogue_ends"]
    )
    environment = {**os.environ, "ROGUES_AS_USER": "1", "HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=580, check=False)
    if done.returncode == CANNOT:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, f"{done.stdout[:6000]}\n...\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert " passed" in done.stdout


def as_user(command: list[str]) -> list[str]:
    """The command as uid 65534, with /root replaced by a folder that shows the interpreter and nothing else."""
    base = shlex.quote(sys.base_prefix)
    show = (
        f"mkdir -p {base} && mount --move /mnt {base} && chmod 755 /root"
        if sys.base_prefix.startswith("/root/")
        else ":"
    )
    hold = f"mount --bind {base} /mnt && mount -t tmpfs -o mode=755 none /root" if show != ":" else ":"
    inside = f'{{ {hold} && {show}; }} || exit {CANNOT}; exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", inside, "sh", *command]


def test_every_model_file_has_a_row_and_every_row_a_file():
    assert sorted(row.file for row in TABLE) == model_files()
    assert len([row for row in TABLE if not row.is_honest]) >= 60
    assert len([row for row in TABLE if row.is_honest]) >= 10


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.file)
def test_the_table_says_what_the_file_says(row):
    assert header(row.file) == row.tries
    assert set(row.becomes) <= ENDINGS
    assert set(row.also) <= {*TIERS, "landlock", "user", "full"}
    assert bool(signs_of(row)) == ("rejected" in row.becomes)
    assert row.becomes == ("measured",) or not row.is_honest
