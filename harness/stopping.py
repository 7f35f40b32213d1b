"""When a pair has been measured enough: looked at after every batch, by intervals that allow for the looking."""

from __future__ import annotations

import math
from dataclasses import dataclass

from actors.messages import Layout, Measured, Stopped
from harness import stats
from harness.figures import SequentialDesign, figures, log_ratios, paired_batches
from harness.judge import Criteria, limit_of, so_far
from harness.records import Demands, Figures, RareLosses, Reason, Verdict

FUTILE = 0.05  # probability that the remaining batches would still decide
QUIET = 0.75  # of the wanted half width: if single calls vary by no more, half of it costs few batches


@dataclass(frozen=True)
class StopWhenKnown:
    """Stops if more batches would change no verdict, or if the speedup is known as well as was asked for.

    images: of all planned batches. half_width: relative, of the speedup's interval; half of it if single calls vary by
    no more than QUIET of it. It travels to the actors with each job.
    """

    demands: Demands
    criteria: Criteria
    design: SequentialDesign
    images: int
    half_width: float

    def __call__(self, measured: Measured) -> Stopped | None:
        """Return why to stop, or None to go on."""
        return self.judge(figures(measured, self.design), measured)

    def judge(self, found: Figures, measured: Measured) -> Stopped | None:
        """The same, from the figures of what was measured."""
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
        if found.speedup_low is None:
            return None
        hopeless = self._cannot_pass(found)
        if hopeless and in_doubt == {Reason.QUALITY} and asked_for_time:
            return Stopped.FUTILITY
        if hopeless:
            in_doubt.discard(Reason.QUALITY)
        if not in_doubt <= {Reason.SPEEDUP}:
            return None
        logs = log_ratios(paired_batches(measured.batches))
        if relative_half_width(found) <= self._wanted(logs):
            return Stopped.PRECISION
        return Stopped.FUTILITY if in_doubt and self._is_futile(logs, measured.layout) else None

    def _cannot_pass(self, found: Figures) -> bool:
        """Whether all planned images are too few to exclude rare losses, and the loss is most likely no failure."""
        limit = limit_of(self.demands, self.criteria)
        if self.design.rare_losses is not RareLosses.BOUND or found.largest_loss is None or found.quality_loss is None:
            return False
        unseen = stats.unseen_loss(found.largest_loss, self.images, self.design.error)
        return unseen > limit and found.quality_loss <= limit

    def _wanted(self, logs: stats.Array) -> float:
        of_a_call = stats.standard_deviation(logs) / math.sqrt(2)
        return self.half_width / 2 if of_a_call <= QUIET * self.half_width else self.half_width

    def _is_futile(self, logs: stats.Array, layout: Layout) -> bool:
        """Whether the speedup would most likely be in doubt after all planned batches, too."""
        required = self.demands.req_speedup
        design = self.design
        if required is None or design.by_starts or layout is Layout.BLOCKS or len(logs) >= design.planned:
            return False
        last = stats.confidence_at_look(design.planned, design.planned, design.confidence)
        assert last is not None
        between = design.spread.half_width([design.planned], design.confidence) if design.spread else 0.0
        return stats.chance_to_decide(logs, math.log(required), design.planned, last, between) < FUTILE


@dataclass(frozen=True)
class MeasureAll:
    """Never stops early: DiffBench's number of prompts is fixed."""

    def __call__(self, measured: Measured) -> Stopped | None:
        """None."""
        return None


def relative_half_width(found: Figures) -> float:
    """Half of the speedup's interval, as a share of the speedup; infinite while there is no interval."""
    if found.speedup is None or found.speedup_low is None or found.speedup_high is None:
        return float("inf")
    return (found.speedup_high - found.speedup_low) / 2 / found.speedup
