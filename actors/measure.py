"""The timed calls of one pair on one device: take turns, score, look for signs, until enough is known.

Both sides stay loaded and take turns on the same prompts and seeds. The order within two batches is A B B A or
B A A B, as a coin decides: a slow drift of the machine falls on both sides alike, and what repeats itself on the
machine falls on each with either sign. Where memory does not hold both, the baseline is timed in two blocks around the
candidate's. The supervisor's clock is judged; the child's own is recorded beside it.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from statistics import median

from actors.image_statistics import Look, look, similarity
from actors.integrity import ImageWatch, score_too_good, too_fast
from actors.messages import (
    Batch,
    BatchRow,
    Finding,
    ImageRow,
    Job,
    Layout,
    Mark,
    Side,
    Sign,
    Status,
    Stopped,
)
from actors.sandbox import ChildFailure
from actors.scoring import Scorer
from actors.side import LoadedSide, Pixels, SideFailure, check_clocks, failures_of
from actors.telemetry import DISTURBING, GpuMeter

Stillness = Callable[[], AbstractContextManager[None]]
Report = Callable[[str, int], None]  # the phase, and the judged batches so far

# A baseline that takes this much longer beside a candidate than alone is timed alone once more.
SLOWED = 1.2
CALLS_ALONE = 3

SAME_WORK = 0.75  # of the denoiser's calls in the warm-up: a cache that looks at the image may skip some more, or fewer

ASKED_AGAIN = frozenset({Sign.NOT_REPEATABLE, Sign.SEED_IGNORED})  # what shows only in a batch that is asked for again


class Crowded(Exception):
    """The device's memory does not hold both sides at once, or not without one hindering the other."""


class Rejected(Exception):
    """A sign that ends the pair was seen."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.sign}: {finding.evidence}")
        self.finding = finding


@dataclass
class Sample:
    """One judged batch of a pair, drawn by lot, and what both sides made of it. It is asked for again at the end."""

    batch: Batch
    pixels: Mapping[Side, Pixels]


class Measurement:
    """Times the calls of a pair. `batches`, `images` and `findings` hold what is known, also when it ends early."""

    def __init__(
        self,
        job: Job,
        scorer: Scorer,
        meter: GpuMeter,
        stillness: Stillness,
        report: Report,
        look_at_baseline: Callable[[Pixels], Look] = look,
    ) -> None:
        """`stillness` makes a context in which nothing of ours but the call uses a CPU."""
        self.job, self.scorer, self.meter = job, scorer, meter
        self.stillness, self.report = stillness, report
        self.layout: Layout | None = None
        self.stopped: Stopped | None = None
        self.batches: list[BatchRow] = []
        self.images: list[ImageRow] = []
        self.findings: dict[Sign, Finding] = {}
        self.floor_s: float | None = None  # of an image: no known method is as fast
        self._watch = ImageWatch(look_at_baseline)
        self._sample: Sample | None = None
        self._drawn = 0  # batches that the sample was drawn from
        self._lot = random.Random(f"sample {job.plan.order_seed}")
        self._coin = random.Random(job.plan.order_seed)
        self._candidate_begins = False

    def interleaved(self, baseline: LoadedSide, candidate: LoadedSide) -> None:
        """Both sides in turns, until the stopping rule says so. Raises SideFailure, Rejected and Crowded."""
        self.layout = Layout.INTERLEAVED
        self.meter.settle()
        plan = self.job.plan
        waiting, repeats = deque(enumerate(plan.batches)), deque(enumerate(plan.repeats, len(plan.batches)))
        judged = 0
        while waiting and not self.stopped:
            number, batch = waiting.popleft()
            self.report("measuring", judged)
            order = [candidate, baseline] if self._candidate_first(judged) else [baseline, candidate]
            pixels = {side.side: self._turn(side, batch, number) for side in order}
            if any(side.alloc_retries > side.retries_alone for side in order):
                raise Crowded("the allocator had to give back memory and try again")
            if repeats and any(row.marks for row in self.batches[-2:]):
                self.batches[-2:] = [replace(row, judged=False) for row in self.batches[-2:]]
                waiting.append(repeats.popleft())
                continue
            scores = self.scorer.score(pixels[Side.BASELINE], batch.prompts)
            self._add_images(batch, number, scores, pixels[Side.BASELINE], pixels[Side.CANDIDATE])
            judged += 1
            self.stopped = plan.stop([row for row in self.batches if row.judged], self.images)
        self.stopped = self.stopped or Stopped.BOUND
        self._ask_again(candidate, self._watch)
        self._settle_signs(baseline)

    def in_blocks(self, sides: Iterable[LoadedSide]) -> None:
        """All batches of the baseline, of the candidate, and of the baseline once more, each alone on the device.

        sides: the three, each made ready when it is asked for. What was measured in turns before is kept, and not
        judged. Raises SideFailure and Rejected.
        """
        self.layout = Layout.BLOCKS
        self.batches = [replace(row, judged=False) for row in self.batches]
        self.images, self.findings = [], {}
        self._sample, self._drawn, self._watch = None, 0, ImageWatch(self._watch.look_at_baseline)
        firsts: list[tuple[Pixels, list[float]]] = []  # the images and scores of the baseline's first block
        for block, side in enumerate(sides):
            self.meter.settle()
            for number, batch in enumerate(self.job.plan.batches):
                self.report(f"measuring the {side.side} alone", number)
                pixels = self._turn(side, batch, number)
                if block == 0:
                    firsts.append((pixels, self.scorer.score(pixels, batch.prompts)))
                elif side.side is Side.CANDIDATE:
                    self._add_images(batch, number, firsts[number][1], firsts[number][0], pixels)
            if side.side is Side.CANDIDATE:
                self._ask_again(side, self._watch)
            elif block > 0:
                self._settle_signs(side)
        self.stopped = Stopped.BOUND

    def looks_slowed(self, baseline: LoadedSide) -> bool:
        """Whether the baseline took much longer in turns with this candidate than in its own warm-up."""
        beside = [row.wall_s for row in self.batches if row.side is Side.BASELINE and row.judged]
        return bool(beside) and median(beside) > SLOWED * max(baseline.warmup_s[-2:])

    def time_alone(self, baseline: LoadedSide) -> None:
        """Times the baseline once more, now that the candidate is gone: was it the candidate that slowed it down?

        The machine may have had a slow moment. So it is a sign only where every call beside the candidate took much
        longer than every call alone. Raises SideFailure and Rejected.
        """
        with self.stillness(), failures_of(Side.BASELINE):
            calls = [baseline.call(batch, 0, 0, "call_s") for batch in self.job.plan.batches[:CALLS_ALONE]]
        alone = max(row.wall_s for row, _ in calls)
        beside = min(row.wall_s for row in self.batches if row.side is Side.BASELINE and row.judged)
        if beside > SLOWED * alone:
            evidence = f"a call of the baseline took {beside:.4f} s or more beside it, {alone:.4f} s or less alone"
            self._note(Finding(Sign.BASELINE_SLOWED, evidence))

    def _candidate_first(self, judged: int) -> bool:
        """A coin for the first batch of two, the other order for the second."""
        if judged % 2:
            return not self._candidate_begins
        self._candidate_begins = self._coin.random() < 0.5
        return self._candidate_begins

    def _turn(self, side: LoadedSide, batch: Batch, number: int) -> Pixels:
        """One timed call; its row has all that is known of the machine meanwhile."""
        with self.stillness():
            self.meter.start()
            try:
                with failures_of(side.side):
                    row, pixels = side.call(batch, number, len(self.batches), "call_s")
                    check_clocks(row, self.job.limits)
            finally:
                reading = self.meter.stop()
        row = replace(row, **asdict(reading))
        self.batches.append(replace(row, marks=marks_of(row)))
        if side.side is Side.CANDIDATE:
            self._note(
                changed_work(row, side.warmup_calls),
                None if self.floor_s is None else too_fast(row.wall_s, self.floor_s * row.images),
            )
        return pixels

    def _add_images(self, batch: Batch, number: int, scores: list[float], baseline: Pixels, candidate: Pixels) -> None:
        """Scores the candidate's images of a judged batch, and looks for signs in them. scores: the baseline's."""
        require_same_size(candidate.shape, baseline.shape)
        rows = zip(
            batch.prompts,
            batch.seeds,
            self.scorer.truncated(batch.prompts),
            scores,
            self.scorer.score(candidate, batch.prompts),
            *similarity(baseline, candidate),
            self._watch.add(batch, number, baseline, candidate),
            strict=True,
        )
        self.images += [ImageRow(number, position, *row) for position, row in enumerate(rows)]
        self._note(*self._watch.findings(), self._fewer_calls(number))
        self._drawn += 1
        if self._lot.randrange(self._drawn) == 0:  # each judged batch is as likely to be the sample as any other
            self._sample = Sample(batch, {Side.BASELINE: baseline, Side.CANDIDATE: candidate})

    def _fewer_calls(self, number: int) -> Finding | None:
        """The sign of a denoiser that is called less often than the baseline's, by what both children counted."""
        counts = {row.side: row.denoiser_calls for row in self.batches if row.batch == number and row.judged}
        baseline, candidate = counts.get(Side.BASELINE), counts.get(Side.CANDIDATE)
        if baseline is None or candidate is None or candidate >= baseline:
            return None
        return Finding(
            Sign.FEWER_CALLS, f"batch {number}: {candidate} calls of its denoiser, {baseline} of the baseline's"
        )

    def _ask_again(self, side: LoadedSide, watch: ImageWatch) -> None:
        """A judged batch once more, untimed, in a request like all others: half of its prompts with other seeds.

        Where that shows a sign, it is the whole batch again and all of its prompts with other seeds that count: a call
        that takes no generator may draw the noise of all images by the first seed. Raises SideFailure.
        """
        if self._sample is None or not self.job.plan.other_seeds:
            return
        prompts, seeds = self._sample.batch.prompts, self._sample.batch.seeds
        others, pixels = self.job.plan.other_seeds[: len(prompts)], self._sample.pixels[side.side]

        def ask(kept: int) -> Pixels:
            """With the seeds that they had for the first `kept` prompts."""
            with failures_of(side.side):
                return side.call(Batch(prompts, (*seeds[:kept], *others[kept:])), 0, 0, "call_s")[1]

        half = len(prompts) // 2
        if half:
            again, trial = ask(half), watch.same_images()
            trial.repeated(pixels[:half], again[:half])
            trial.reseeded(pixels[half:], again[half:])
            if not ASKED_AGAIN.intersection(finding.sign for finding in trial.findings()):
                return
        watch.repeated(pixels, ask(len(prompts)))
        watch.reseeded(pixels, ask(0))

    def _settle_signs(self, baseline: LoadedSide) -> None:
        """Notes what all images together show.

        What the baseline shows, too, when it is asked again, is no sign. Raises SideFailure and Rejected.
        """
        findings = {finding.sign: finding for finding in self._watch.findings()}
        if findings.keys() & ASKED_AGAIN:
            mirror = self._watch.mirrored()
            self._ask_again(baseline, mirror)
            for shared in ASKED_AGAIN.intersection(finding.sign for finding in mirror.findings()):
                findings.pop(shared, None)
        clips = [image.baseline_clip for image in self.images], [image.candidate_clip for image in self.images]
        self._note(*findings.values(), score_too_good(*clips))

    def _note(self, *findings: Finding | None) -> None:
        """Keeps the latest evidence of each sign. Raises Rejected for a sign that ends the pair."""
        known = [finding for finding in findings if finding is not None]
        self.findings |= {finding.sign: finding for finding in known}
        for finding in known:
            if finding.sign in self.job.plan.reject:
                raise Rejected(finding)


def changed_work(row: BatchRow, warmup_calls: int | None) -> Finding | None:
    """The sign of a candidate that tells timed calls from its warm-up. A count that is missing now is none at all."""
    calls = row.denoiser_calls or 0
    if warmup_calls is None or calls >= SAME_WORK * warmup_calls:
        return None
    evidence = f"batch {row.batch}: {calls} calls of its denoiser, {warmup_calls} or more in each call of its warm-up"
    return Finding(Sign.CHANGED_WORK, evidence)


def marks_of(row: BatchRow) -> tuple[Mark, ...]:
    """What disturbed a call, as far as the machine tells."""
    signs = {
        Mark.THROTTLED: not DISTURBING.isdisjoint(row.throttle_reasons or ()),
        Mark.FOREIGN_PROCESS: bool(row.foreign_processes),
    }
    return tuple(mark for mark, seen in signs.items() if seen)


def require_same_size(candidate: Sequence[int], baseline: Sequence[int]) -> None:
    """Raises SideFailure where the candidate's images have another size than the baseline's."""
    if candidate != baseline:
        detail = f"generate: images of {candidate[1:3]} pixels, the baseline's have {baseline[1:3]}"
        raise SideFailure(Side.CANDIDATE, ChildFailure(Status.BAD_IMAGES, detail))
