"""From the raw values of a pair to its figures: speedup, quality loss and latency, with their intervals. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from actors.draws import share
from actors.messages import BatchRow, ImageRow, Layout, Measured, Side
from harness import stats
from harness.records import Figures, PairFacts, RareLosses
from harness.stats import Interval, StartSpread


@dataclass(frozen=True)
class SequentialDesign:
    """When the intervals of a pair are looked at, and what all looks together hold.

    confidence: joint, such as 0.95. planned: judged batches at most. starts: how often both processes are started; the
    batches are shared out among them. spread: what a calibration found of the difference between starts. None: nothing
    is known of it. Then an interval from one start is about these two processes, and one from several starts is made of
    their means. order_effect: log of how much slower the process is that was started last.
    """

    confidence: float
    planned: int
    starts: int = 1
    spread: StartSpread | None = None
    rare_losses: RareLosses = RareLosses.BOUND

    @property
    def by_starts(self) -> bool:
        """Whether each start counts once, and looks are taken after starts."""
        return self.starts > 1 and self.spread is None

    @property
    def order_effect(self) -> float:
        """Log of how much slower the process is that was started last."""
        return stats.START_ORDER_EFFECT if self.spread is None else self.spread.order_effect

    @property
    def error(self) -> float:
        """The probability of a false pass that the last look allows, on one side."""
        return stats.one_sided_error(self.starts if self.by_starts else self.planned, self.confidence)

    def batches_of_start(self, start: int) -> int:
        """How many judged batches this start measures, from 0."""
        return share(self.planned, self.starts, start)

    def level(self, paired: Sequence[PairedBatch], layout: Layout) -> float | None:
        """The confidence of a single interval of these batches; None while it is too early for one."""
        if layout is Layout.BLOCKS:
            return self.confidence if len(paired) == self.planned else None  # there is one look
        if not self.by_starts:
            return stats.confidence_at_look(min(len(paired), self.planned), self.planned, self.confidence)
        counts = Counter(batch.block for batch in paired)
        if any(counts[start] != self.batches_of_start(start) for start in counts):
            return None  # in the middle of a start
        return stats.confidence_at_look(len(counts), self.starts, self.confidence)


@dataclass(frozen=True)
class PairedBatch:
    """One batch that was timed on both sides. candidate_last: whether the candidate's process was started last."""

    baseline_s: float
    candidate_s: float
    images: int
    block: int
    candidate_last: bool | None


def design_of(pair: PairFacts) -> SequentialDesign:
    """The design that a pair was measured with. Older result sets had one start, and say nothing of rare losses."""
    spread = None
    if pair.start_std is not None and pair.start_df is not None and pair.start_order_effect is not None:
        spread = StartSpread(pair.start_std, pair.start_df, pair.start_order_effect)
    rare_losses = pair.rare_losses or RareLosses.BOUND
    return SequentialDesign(pair.confidence, pair.batches_planned, pair.starts or 1, spread, rare_losses)


def figures(measured: Measured, design: SequentialDesign) -> Figures:
    """The figures of what was measured so far. Raises ValueError if the raw values are not those of a pair."""
    paired = paired_batches(measured.batches)
    _require_sound(paired, measured)
    level = design.level(paired, measured.layout)
    baseline_s, candidate_s = _seconds(paired)
    counts = np.array([batch.images for batch in paired])
    ratio = _speedup(paired, design, measured.layout, level)
    baseline_clip = [image.baseline_clip for image in measured.images]
    candidate_clip = [image.candidate_clip for image in measured.images]
    largest = largest_loss(measured.images)
    loss = _loss(measured.images, design, largest, level)
    per_image = _latency(paired, measured, design, level)
    return Figures(
        speedup=ratio.value,
        speedup_low=ratio.low,
        speedup_high=ratio.high,
        speedup_mean_over_mean=stats.mean_over_mean(baseline_s, candidate_s),
        quality_loss=loss.value if loss else None,
        quality_loss_low=loss.low if loss else None,
        quality_loss_high=loss.high if loss else None,
        largest_loss=largest,
        baseline_clip=fmean(baseline_clip),
        candidate_clip=fmean(candidate_clip),
        ssim=fmean([image.ssim for image in measured.images]),
        psnr=median([image.psnr for image in measured.images]),
        baseline_seconds_per_image=stats.seconds_per_image(baseline_s, counts),
        candidate_seconds_per_image=per_image.value,
        candidate_seconds_per_image_low=per_image.low,
        candidate_seconds_per_image_high=per_image.high,
    )


def log_ratios(paired: Sequence[PairedBatch]) -> stats.Array:
    """log(baseline / candidate) of each batch, (batches,)."""
    return stats.log_ratios(*_seconds(paired))


def paired_batches(batches: Sequence[BatchRow]) -> list[PairedBatch]:
    """Every judged batch that was timed on both sides, in the order of the candidate's calls."""
    baseline = {row.batch: row for row in batches if row.judged and row.side is Side.BASELINE}
    candidate = {row.batch: row for row in batches if row.judged and row.side is Side.CANDIDATE}
    return [
        PairedBatch(baseline[batch].wall_s, row.wall_s, row.images, row.block or 0, row.started_last)
        for batch, row in candidate.items()
        if batch in baseline
    ]


def largest_loss(images: Sequence[ImageRow]) -> float:
    """What a single image can lose, as a share of the baseline's mean score.

    An image that has nothing to do with its prompt still scores as much as the baseline's images do with the prompts of
    others. 1 if this was not measured, as in older result sets. Never less than what some image lost.
    """
    mean = fmean([image.baseline_clip for image in images])
    others = [image.mismatched_clip for image in images if image.mismatched_clip is not None]
    if mean <= 0 or len(others) < len(images):
        return 1.0
    worst = max(image.baseline_clip - image.candidate_clip for image in images) / mean
    return max(1 - fmean(others) / mean, worst)


def _seconds(paired: Sequence[PairedBatch]) -> tuple[stats.Array, stats.Array]:
    return np.array([batch.baseline_s for batch in paired]), np.array([batch.candidate_s for batch in paired])


def _speedup(paired: Sequence[PairedBatch], design: SequentialDesign, layout: Layout, level: float | None) -> Interval:
    logs, groups = log_ratios(paired), [batch.block for batch in paired]
    if layout is Layout.BLOCKS:
        return stats.speedup_of_means(logs, groups, level, stats.blocks_inflation(len(set(groups))))
    if design.by_starts:
        ratio = stats.speedup_of_means(logs, groups, level)
    else:
        ratio = stats.speedup(logs, level, groups, _between(groups, design))
    return stats.widened(ratio, _order_effect(paired, design))


def _between(groups: Sequence[int], design: SequentialDesign) -> float:
    """What is known of the difference between starts, as half of an interval of a log ratio."""
    return design.spread.half_width(list(Counter(groups).values()), design.confidence) if design.spread else 0.0


def _order_effect(paired: Sequence[PairedBatch], design: SequentialDesign) -> float:
    """What the order of starts may have done to the mean log ratio.

    The candidate's place counts for it in some batches and against it in others, as far as both are known.
    """
    return design.order_effect * abs(fmean([1.0 if batch.candidate_last is not False else -1.0 for batch in paired]))


def _loss(images: Sequence[ImageRow], design: SequentialDesign, largest: float, level: float | None) -> Interval | None:
    bounded = design.rare_losses is RareLosses.BOUND
    return stats.relative_loss(
        [image.baseline_clip for image in images],
        [image.candidate_clip for image in images],
        [image.batch for image in images],
        level,
        unseen=stats.unseen_loss(largest, len(images), design.error) if bounded else -math.inf,
    )


def _latency(
    paired: Sequence[PairedBatch], measured: Measured, design: SequentialDesign, level: float | None
) -> Interval:
    """Seconds per image of the candidate. What counts once for the speedup does so here."""
    baseline_s, candidate_s = _seconds(paired)
    groups = [batch.block for batch in paired]
    if not measured.stretches_s:
        return Interval(stats.seconds_per_image(candidate_s, [batch.images for batch in paired]), None, None)
    in_blocks = measured.layout is Layout.BLOCKS
    if not in_blocks and not design.by_starts:
        between = _between(groups, design)
        time = stats.latency(baseline_s, candidate_s, measured.stretches_s, level, between=between)
        return stats.widened(time, _order_effect(paired, design))
    sums = stats.sums_of_groups(baseline_s, groups), stats.sums_of_groups(candidate_s, groups)
    inflation = stats.blocks_inflation(len(sums[0])) if in_blocks else 1.0
    time = stats.latency(*sums, measured.stretches_s, level, inflation)
    return time if in_blocks else stats.widened(time, _order_effect(paired, design))


def _require_sound(paired: Sequence[PairedBatch], measured: Measured) -> None:
    if not paired or 2 * len(paired) != sum(row.judged for row in measured.batches):
        raise ValueError("a batch was timed more often than the others, or on one side alone")
    if not measured.images:
        raise ValueError("no image was scored")
