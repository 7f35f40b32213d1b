"""A result set judged again: today's figures from its raw values, by other limits if they are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from actors.messages import BatchRow, ImageRow, Layout, Status
from harness.evaluation import refigured
from harness.judge import NO_INTERVAL, Criteria, judged
from harness.records import PairRecord, Protocol, RareLosses, Reason, Verdict
from harness.result_set import ResultSet
from harness.run_statistics import fcr_intervals
from harness.stats import Interval


@dataclass(frozen=True)
class Rejudged:
    """One pair as it was stored, and as it is judged now; `after.detail` says why, and what was not stored of it."""

    before: PairRecord
    after: PairRecord

    @property
    def changed(self) -> bool:
        """Whether the verdict is another one."""
        return self.before.verdict is not self.after.verdict


def rejudge(
    folder: Path,
    *,
    max_quality_loss: float | None = None,
    protocol: Protocol | None = None,
    rare_losses: RareLosses | None = None,
) -> list[Rejudged]:
    """Judges the pairs of a result set by today's rules, in its order. The result set stays as it is.

    Whatever is None is as in the run. Raises ResultSetError as `ResultSet.load` does.
    """
    evaluation = ResultSet.config(folder)["evaluation"]
    limit = evaluation["max_quality_loss"] if max_quality_loss is None else max_quality_loss
    criteria = Criteria(protocol or Protocol(evaluation["protocol"]), limit)
    return [
        Rejudged(record, judged_again(record, batches, images, criteria, rare_losses))
        for record, batches, images in ResultSet.measurements(folder)
    ]


def intervals_of_passed(folder: Path) -> dict[str, tuple[float | None, float | None]]:
    """The speedup's interval of every passed pair, by prompt id, at the level that allows for their selection.

    See `run_statistics.false_coverage_level`. Raises ResultSetError as `ResultSet.load` does.
    """
    measurements = ResultSet.measurements(folder)
    rows = {record.prompt_id: (batches, images) for record, batches, images in measurements if record.passed}

    def interval_at(record: PairRecord, confidence: float) -> Interval:
        batches, images = rows[record.prompt_id]
        again = refigured(replace(record, confidence=confidence), batches, images)
        assert again.speedup is not None
        return Interval(again.speedup, again.speedup_low, again.speedup_high)

    found = fcr_intervals(ResultSet.load(folder), interval_at)
    return {name: (interval.low, interval.high) for name, interval in found.items()}


def judged_again(
    record: PairRecord,
    batches: Sequence[BatchRow],
    images: Sequence[ImageRow],
    criteria: Criteria,
    rare_losses: RareLosses | None = None,
) -> PairRecord:
    """The record with today's figures and verdict. If its rows are of no use, with the figures that it has."""
    asked = record if rare_losses is None else replace(record, rare_losses=rare_losses)
    try:
        again = judged(refigured(asked, batches, images), criteria)
        note = _not_stored(again, record, batches)
    except ValueError as error:
        again = judged(asked, criteria)
        note = f"the figures are those that were stored, since they cannot be computed again: {error}"
    if note is None:
        return again
    instead = again.detail.replace(NO_INTERVAL, note)  # more batches would not make one
    return replace(again, detail=instead if instead != again.detail else f"{again.detail}; {note}")


def _not_stored(again: PairRecord, before: PairRecord, batches: Sequence[BatchRow]) -> str | None:
    """What leaves a verdict in doubt because an older version did not store it."""
    if again.verdict is not Verdict.INCONCLUSIVE or again.status is not Status.MEASURED or before.starts is not None:
        return None
    if again.layout is Layout.BLOCKS and any(row.block is None for row in batches):
        return "there is no interval, since an older version measured three blocks, which are too few"
    if again.reason is Reason.LATENCY:
        return "there is no interval, since an older version did not time the baseline at other moments"
    if again.reason is Reason.QUALITY and again.rare_losses is RareLosses.BOUND:
        return "an older version did not store how much an image can lose, so 100% is taken"
    return None
