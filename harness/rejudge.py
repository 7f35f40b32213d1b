"""A result set judged again: today's figures from its raw values, by other limits if they are given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from actors.messages import Layout, Status
from harness.evaluation import refigured
from harness.judge import NO_INTERVAL, Criteria, judged
from harness.records import PairRecord, Protocol, RareLosses, Reason, Verdict
from harness.result_set import RawValues, ResultSet
from harness.run_statistics import fcr_intervals
from harness.stats import Interval

NO_RAW_VALUES = RawValues((), ())


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
    records, raw_values = ResultSet.load(folder), ResultSet.raw_values(folder)
    evaluation = ResultSet.config(folder)["evaluation"]
    limit = evaluation["max_quality_loss"] if max_quality_loss is None else max_quality_loss
    criteria = Criteria(protocol or Protocol(evaluation["protocol"]), limit)
    return [
        Rejudged(record, judged_again(record, raw_values.get(record.prompt_id, NO_RAW_VALUES), criteria, rare_losses))
        for record in records
    ]


def intervals_of_passed(folder: Path) -> dict[str, tuple[float | None, float | None]]:
    """The speedup's interval of every passed pair, by prompt id, at the level that allows for their selection.

    See `run_statistics.false_coverage_level`. Raises ResultSetError as `ResultSet.load` does.
    """
    raw_values = ResultSet.raw_values(folder)

    def interval_at(record: PairRecord, confidence: float) -> Interval:
        raw = raw_values[record.prompt_id]
        again = refigured(replace(record, confidence=confidence), raw.batches, raw.images)
        assert again.speedup is not None
        return Interval(again.speedup, again.speedup_low, again.speedup_high)

    found = fcr_intervals(ResultSet.load(folder), interval_at)
    return {name: (interval.low, interval.high) for name, interval in found.items()}


def judged_again(
    record: PairRecord, raw: RawValues, criteria: Criteria, rare_losses: RareLosses | None = None
) -> PairRecord:
    """The record with today's figures and verdict. If it has no usable raw values, with the figures that it has."""
    asked = record if rare_losses is None else replace(record, rare_losses=rare_losses)
    try:
        again = judged(refigured(asked, raw.batches, raw.images), criteria)
        note = _not_stored(again, record, raw)
    except ValueError as error:
        again = judged(asked, criteria)
        note = f"the figures are those that were stored, since they cannot be computed again: {error}"
    if note is None:
        return again
    instead = again.detail.replace(NO_INTERVAL, note)  # more batches would not make one
    return replace(again, detail=instead if instead != again.detail else f"{again.detail}; {note}")


def _not_stored(again: PairRecord, before: PairRecord, raw: RawValues) -> str | None:
    """What leaves a verdict in doubt because an older version did not store it."""
    if again.verdict is not Verdict.INCONCLUSIVE or again.status is not Status.MEASURED or before.starts is not None:
        return None
    if again.layout is Layout.BLOCKS and any(row.block is None for row in raw.batches):
        return "there is no interval, since an older version measured three blocks, which are too few"
    if again.reason is Reason.LATENCY:
        return "there is no interval, since an older version did not time the baseline at other moments"
    if again.reason is Reason.QUALITY and again.rare_losses is RareLosses.BOUND:
        return "an older version did not store how much an image can lose, so 100% is taken"
    return None
