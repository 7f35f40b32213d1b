"""When a pair has been measured enough: looked at after every batch, by intervals that allow for the looking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actors.messages import BatchRow, ImageRow, Stopped
from harness.evaluation import Looks, figures
from harness.judge import Criteria, so_far
from harness.records import Demands, Figures, Reason, Verdict


@dataclass(frozen=True)
class StopWhenKnown:
    """Stops where more batches would change no verdict, or where the speedup is known as well as was asked for.

    half_width: relative, of the speedup's interval. It travels to the actors with each job.
    """

    demands: Demands
    criteria: Criteria
    looks: Looks
    half_width: float

    def __call__(self, batches: Sequence[BatchRow], images: Sequence[ImageRow]) -> Stopped | None:
        """batches: the judged calls so far."""
        found = figures(batches, images, self.looks)
        verdicts = so_far(found, self.demands, self.criteria)
        if Verdict.FAIL in verdicts.values():
            return Stopped.VERDICT
        in_doubt = {reason for reason, verdict in verdicts.items() if verdict is Verdict.INCONCLUSIVE}
        in_doubt.discard(Reason.REQUIREMENT)  # the task contradicts itself, however long it is measured
        if found.quality_loss is None:
            in_doubt.discard(Reason.QUALITY)  # the baseline's mean score is not positive, and will not become it
        asked_for_time = self.demands.req_speedup is not None or self.demands.req_latency_s is not None
        if not in_doubt and asked_for_time:
            return Stopped.VERDICT
        narrow = relative_half_width(found) <= self.half_width
        return Stopped.PRECISION if narrow and in_doubt <= {Reason.SPEEDUP} else None


@dataclass(frozen=True)
class MeasureAll:
    """Never stops early: DiffBench's number of prompts is fixed."""

    def __call__(self, batches: Sequence[BatchRow], images: Sequence[ImageRow]) -> Stopped | None:
        """None."""
        return None


def relative_half_width(found: Figures) -> float:
    """Half of the speedup's interval, as a share of the speedup; infinite while there is no interval."""
    if found.speedup is None or found.speedup_low is None or found.speedup_high is None:
        return float("inf")
    return (found.speedup_high - found.speedup_low) / 2 / found.speedup
