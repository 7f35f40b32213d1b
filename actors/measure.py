"""The timed calls of one pair on one device: take turns, score, look for signs, until enough is known.

Both sides stay loaded and take turns on the same prompts and seeds. The order within two batches is A B B A or
B A A B, as a coin decides: a slow drift of the machine falls on both sides alike, and what repeats itself on the
machine falls on each with either sign. Both processes can be started anew several times on the way. Where memory does
not hold both, whole blocks of batches take turns instead. The supervisor's clock is judged; the child's own is recorded
beside it.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from statistics import geometric_mean

from actors.draws import Draw, KeyedRandom, block_pairs, share
from actors.image_statistics import similarity
from actors.integrity import ImageWatch, score_too_good
from actors.messages import (
    Batch,
    BatchRow,
    Finding,
    ImageRow,
    Job,
    Layout,
    Mark,
    Measured,
    Plan,
    Side,
    Sign,
    Status,
    Stopped,
)
from actors.sandbox import ChildFailure
from actors.scoring import Scorer
from actors.side import LoadedSide, Pixels, SideFailure, check_clocks, failures_of
from actors.telemetry import DISTURBING, GpuMeter
from actors.timing_signs import (
    FAR,
    SLOWED,
    baseline_slowed,
    changed_work,
    counted_calls,
    ran_while_stopped,
    stopped_side_ran,
    too_fast,
    work_does_not_fit,
)

Stillness = Callable[[], AbstractContextManager[None]]
Report = Callable[[str, int], None]  # the phase, and the judged batches so far

PAUSE_S = 5.0  # between two stretches of the baseline: a neighbour's load on a shared host lasts for seconds
LEAST_ALONE = 3  # calls of the baseline after the candidate's end, however few there were beside it

ASKED_AGAIN = frozenset({Sign.NOT_REPEATABLE, Sign.SEED_IGNORED})  # what shows only in a batch that is asked for again


class Crowded(Exception):
    """The device's memory does not hold both sides at once, or not without one hindering the other."""


class Rejected(Exception):
    """A sign that ends the pair was seen."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.sign}: {finding.evidence}")
        self.finding = finding


def block_order(plan: Plan, draw: Draw) -> list[tuple[Side, int]]:
    """The blocks of a pair in blocks, in the order of time: the side, and the number of the block pair.

    Of every two block pairs the order is A B B A or B A A B, as a coin decides.
    """
    pairs, coin = block_pairs(plan), KeyedRandom(f"{draw.order} blocks")
    order: list[tuple[Side, int]] = []
    for number in range(0, pairs, 2):
        first, second = Side.BASELINE, Side.CANDIDATE
        if pairs > 1 and coin.random() < 0.5:  # a single candidate block needs its images to compare with
            first, second = second, first
        order += [(first, number), (second, number)]
        order += [(second, number + 1), (first, number + 1)] if number + 1 < pairs else []
    return order


class Turns:
    """Whose turn it is first, batch by batch, in one start of both processes."""

    def __init__(self, start: int, baseline: LoadedSide, candidate: LoadedSide, coin: random.Random) -> None:
        self.start, self.baseline, self.candidate = start, baseline, candidate
        self._coin, self._batches, self._candidate_first = coin, 0, False

    def order(self) -> tuple[LoadedSide, LoadedSide]:
        """Return the sides of the next batch: a coin for the first of two batches, the other order for the second."""
        again = self._batches % 2
        self._candidate_first = not self._candidate_first if again else self._coin.random() < 0.5
        self._batches += 1
        return (self.candidate, self.baseline) if self._candidate_first else (self.baseline, self.candidate)


@dataclass
class Sample:
    """One judged batch of a pair, drawn by lot, and what both sides made of it. It is asked for again at the end."""

    batch: Batch
    pixels: Mapping[Side, Pixels]


class Measurement:
    """Times the calls of a pair. `batches`, `images` and `findings` hold what is known, also when it ends early."""

    def __init__(self, job: Job, scorer: Scorer, meter: GpuMeter, stillness: Stillness, report: Report) -> None:
        """`stillness` makes a context in which nothing of ours but the call uses a CPU."""
        self.job, self.scorer, self.meter = job, scorer, meter
        self.stillness, self.report = stillness, report
        self.layout: Layout | None = None
        self.stopped: Stopped | None = None
        self.batches: list[BatchRow] = []
        self.images: list[ImageRow] = []
        self.findings: dict[Sign, Finding] = {}
        self.stretches_s: list[float] = []  # see Measured
        self.floor_s: float | None = None  # of an image: no known method is as fast
        self._repeats = job.plan.repeats
        self._begin()

    def interleaved(self, draw: Draw, starts: Iterable[tuple[LoadedSide, LoadedSide]]) -> None:
        """Both sides in turns, until the stopping rule says so. Raises SideFailure, Rejected and Crowded.

        starts: of both processes, as (baseline, candidate), each made ready when it is asked for.
        """
        self.layout = Layout.INTERLEAVED
        plan, coin, timed = self.job.plan, KeyedRandom(draw.order), iter(draw.timed)
        for start, (baseline, candidate) in enumerate(starts):
            self.meter.settle()
            turns = Turns(start, baseline, candidate, coin)
            for batch in draw.burn_in[start]:
                self.report("measuring", self._judged)
                self._in_turns(turns, batch)
                self.batches[-2:] = map(_of_burn_in, self.batches[-2:])
            planned = self._judged + share(plan.batches, plan.starts, start)
            while self._judged < planned and not self.stopped:
                self.report("measuring", self._judged)
                batch = next(timed)
                pixels = self._in_turns(turns, batch)
                if self._repeats and any(row.marks for row in self.batches[-2:]):
                    self.batches[-2:] = [replace(row, judged=False) for row in self.batches[-2:]]
                    self._repeats -= 1
                    continue
                self._score(draw, batch, self.batches[-1].batch, pixels)
                self.stopped = plan.stop(self.measured())
            if self.stopped or start + 1 == plan.starts:
                break  # before the next start is asked for
        self.stopped = self.stopped or Stopped.BOUND
        self._ask_again(draw, candidate, self._watch)
        self._settle_signs(draw, baseline, candidate)

    def in_blocks(
        self, draw: Draw, sides: Iterable[tuple[LoadedSide, int]], baseline_again: Callable[[], LoadedSide]
    ) -> None:
        """Blocks of batches, each of one side that is alone on the device.

        sides: of each block, as `block_order` says, with the number of the block pair; made ready when it is asked for.
        baseline_again: makes it ready once more. What was measured in turns before is kept, and not judged. Raises
        SideFailure and Rejected.
        """
        self.layout = Layout.BLOCKS
        self.batches = [replace(row, judged=False) for row in self.batches]
        self.images, self.findings = [], {}
        self._begin()
        begun: dict[int, dict[Side, Pixels]] = {}  # by batch: what one side made that the other is yet to be asked for
        plan = self.job.plan
        loaded: dict[Side, LoadedSide] = {}
        pairs = left = block_pairs(plan)
        for side, block in sides:
            if loaded.get(side.side) is not side:
                loaded[side.side] = side
                self.meter.settle()
                self._burn_in_alone(draw, side, block)
            first = sum(share(plan.batches, pairs, number) for number in range(block))
            for number in range(first, first + share(plan.batches, pairs, block)):
                self.report(f"measuring the {side.side} alone", number)
                pixels = begun.setdefault(number, {})
                pixels[side.side] = self._turn(side, draw.timed[number], number, block=block)
                if len(pixels) == len(Side):
                    self._score(draw, draw.timed[number], number, begun.pop(number))
            left -= side.side is Side.CANDIDATE
            if side.side is Side.CANDIDATE and not left:
                self._ask_again(draw, side, self._watch)
        self.stopped = Stopped.BOUND
        self._settle_signs(draw, loaded[Side.BASELINE], loaded[Side.CANDIDATE], baseline_again)

    def measured(self) -> Measured:
        """What is judged so far."""
        assert self.layout is not None
        return Measured([row for row in self.batches if row.judged], self.images, self.layout, self.stretches_s)

    def take_stretches(self, draw: Draw, baseline: LoadedSide, known: Sequence[float]) -> None:
        """Has the baseline's time per image in as many stretches as a latency needs, each a call that lies apart.

        known: of earlier pairs on this device. Between two calls nothing runs for PAUSE_S, or as long as a call takes.
        Raises SideFailure.
        """
        self.stretches_s = list(known)
        for batch in draw.stretches[: max(0, self.job.plan.stretches - len(known))]:
            self.report("timing the baseline for a latency", 0)
            with self.stillness(), failures_of(Side.BASELINE):
                row, _ = baseline.call(batch, 0, 0, "call_s")
                check_clocks(row, self.job.limits)
            self.stretches_s.append(row.wall_s / row.images)
            time.sleep(max(PAUSE_S, row.wall_s))

    def looks_slowed(self, baseline: LoadedSide) -> bool:
        """Whether the baseline took longer in turns with this candidate than in its quickest warm-up call.

        By the mean of all turns, or by far in some of them: a candidate may leave the others quiet.
        """
        rows = self._beside()
        if not rows:
            return False
        alone_s, alone_cpu_s = min(baseline.warmup_s), min(baseline.warmup_cpu_s, default=0.0)
        far = [one for one in rows if one.wall_s > FAR * alone_s or (one.cpu_s or 0.0) > FAR * alone_cpu_s > 0]
        return geometric_mean([one.wall_s for one in rows]) > SLOWED * alone_s or len(far) > 1

    def time_alone(self, draw: Draw, baseline: LoadedSide) -> None:
        """Times the baseline once more, now that the candidate is gone: was it the candidate that slowed it down?

        Raises SideFailure and Rejected.
        """
        beside = self._beside()
        with self.stillness(), failures_of(Side.BASELINE):
            calls = [baseline.call(batch, 0, 0, "call_s") for batch in draw.alone[: max(LEAST_ALONE, len(beside))]]
        self._note(baseline_slowed(beside, [row for row, _ in calls]))

    def _begin(self) -> None:
        """Forgets the images of another layout."""
        self._judged = 0  # batches
        self._watch = ImageWatch()
        self._sample: Sample | None = None
        self._drawn = 0  # batches that the sample was drawn from
        self._lot: random.Random | None = None

    def _beside(self) -> list[BatchRow]:
        """The baseline's judged calls beside the candidate."""
        return [row for row in self.batches if row.side is Side.BASELINE and row.judged]

    def _burn_in_alone(self, draw: Draw, side: LoadedSide, block: int) -> None:
        """The first calls of a side that was just loaded for a block. Raises SideFailure and Rejected."""
        for number, batch in enumerate(draw.burn_in[block], len(draw.timed) + block * self.job.plan.burn_in):
            self._turn(side, batch, number, block=block)
            self.batches[-1] = _of_burn_in(self.batches[-1])

    def _in_turns(self, turns: Turns, batch: Batch) -> dict[Side, Pixels]:
        """One batch of both sides, the one that the coin says first. Raises SideFailure, Rejected and Crowded."""
        candidate, number = turns.candidate, len(self.batches) // 2
        first, second = turns.order()
        pixels = {
            side.side: self._turn(side, batch, number, stopped, turns.start)
            for side, stopped in ((first, second), (second, first))
        }
        if any(side.alloc_retries > side.retries_alone for side in (first, second)):
            raise Crowded("the allocator had to give back memory and try again")
        self._note(ran_while_stopped(self.batches, candidate.child.stopped_cpu_s, candidate.child.cpu_resolution_s))
        return pixels

    def _turn(
        self, side: LoadedSide, batch: Batch, number: int, stopped: LoadedSide | None = None, block: int = 0
    ) -> Pixels:
        """One timed call; its row has all that is known of the machine meanwhile.

        stopped: the other side, which should stand still meanwhile and is charged for what it uses.
        """
        with self.stillness():
            self.meter.start(stopped.child.pids() if stopped else ())
            before = stopped.child.stopped_cpu_s if stopped else 0.0
            try:
                with failures_of(side.side):
                    row, pixels = side.call(batch, number, len(self.batches), "call_s", self.meter.answered)
                    check_clocks(row, self.job.limits)
                used = stopped.child.stopped_cpu_s - before if stopped else None
            finally:
                reading = self.meter.stop()
        started_last = side.loaded_at > stopped.loaded_at if stopped else None
        row = replace(row, block=block, started_last=started_last, stopped_cpu_s=used, **asdict(reading))
        row = replace(row, marks=marks_of(row, stopped.child.cpu_resolution_s if stopped else 0.0))
        self.batches.append(row)
        if side.side is Side.CANDIDATE:
            self._note(
                changed_work(row, side.warmup_calls),
                None if self.floor_s is None else too_fast(row.wall_s, self.floor_s * row.images),
            )
        return pixels

    def _score(self, draw: Draw, batch: Batch, number: int, pixels: Mapping[Side, Pixels]) -> None:
        """Scores the images that both sides made of a judged batch, and looks for signs in them."""
        baseline, candidate = pixels[Side.BASELINE], pixels[Side.CANDIDATE]
        require_same_size(candidate.shape, baseline.shape)
        following = draw.timed[draw.timed.index(batch) + 1 :]  # not by those judged: some may have been repeated
        rest = itertools.chain.from_iterable(one.prompts for one in (*following, *draw.alone))
        others = tuple(itertools.islice(rest, len(batch.prompts)))  # these images have nothing to do with
        scores, mismatched = self.scorer.score(baseline, batch.prompts, others)
        rows = zip(
            batch.prompts,
            batch.seeds,
            self.scorer.truncated(batch.prompts),
            scores,
            *self.scorer.score(candidate, batch.prompts),
            *similarity(baseline, candidate),
            self._watch.add(batch, number, baseline, candidate),
            mismatched,
            strict=True,
        )
        self.images += [ImageRow(number, position, *row) for position, row in enumerate(rows)]
        self._judged += 1
        calls = {row.side: row for row in self.batches if row.batch == number and row.judged}
        seen = [finding for finding in self._watch.findings() if finding.sign not in ASKED_AGAIN]  # settled at the end
        self._note(*seen, counted_calls(calls[Side.BASELINE], calls[Side.CANDIDATE]))
        self._drawn += 1
        self._lot = self._lot or KeyedRandom(f"{draw.order} sample")
        if self._lot.randrange(self._drawn) == 0:  # each judged batch is as likely to be the sample as any other
            self._sample = Sample(batch, {Side.BASELINE: baseline, Side.CANDIDATE: candidate})

    def _ask_again(self, draw: Draw, side: LoadedSide, watch: ImageWatch) -> None:
        """A judged batch once more, untimed, in a request like all others: half of its prompts with other seeds.

        Where that shows a sign, it is the whole batch again and all of its prompts with other seeds that count: a call
        that takes no generator may draw the noise of all images by the first seed. Raises SideFailure.
        """
        if self._sample is None or not draw.other_seeds:
            return
        prompts, seeds = self._sample.batch.prompts, self._sample.batch.seeds
        others, pixels = draw.other_seeds[: len(prompts)], self._sample.pixels[side.side]

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

    def _settle_signs(
        self,
        draw: Draw,
        baseline: LoadedSide,
        candidate: LoadedSide,
        baseline_again: Callable[[], LoadedSide] | None = None,
    ) -> None:
        """Notes what all images and all calls together show.

        baseline_again: makes the baseline ready once more, if it has ended.

        What the baseline shows, too, when it is asked again, is no sign. Raises SideFailure and Rejected.
        """
        findings = {finding.sign: finding for finding in self._watch.findings()}
        if findings.keys() & ASKED_AGAIN:
            mirror = self._watch.mirrored()
            self._ask_again(draw, baseline_again() if baseline_again else baseline, mirror)
            for shared in ASKED_AGAIN.intersection(finding.sign for finding in mirror.findings()):
                findings.pop(shared, None)
        clips = [image.baseline_clip for image in self.images], [image.candidate_clip for image in self.images]
        own = {*candidate.config.methods, *self.job.candidate.methods}
        shared_methods = {*baseline.config.methods, *self.job.baseline.methods}
        judged = [row for row in self.batches if row.judged]
        self._note(*findings.values(), score_too_good(*clips), work_does_not_fit(judged, own - shared_methods))

    def _note(self, *findings: Finding | None) -> None:
        """Keeps the latest evidence of each sign. Raises Rejected for a sign that ends the pair."""
        known = [finding for finding in findings if finding is not None]
        self.findings |= {finding.sign: finding for finding in known}
        for finding in known:
            if finding.sign in self.job.plan.reject:
                raise Rejected(finding)


def _of_burn_in(row: BatchRow) -> BatchRow:
    return replace(row, judged=False, marks=(*row.marks, Mark.BURN_IN))


def marks_of(row: BatchRow, resolution_s: float = 0.0) -> tuple[Mark, ...]:
    """What disturbed a call, as far as the machine tells. resolution_s: of the stopped side's CPU time."""
    signs = {
        Mark.THROTTLED: not DISTURBING.isdisjoint(row.throttle_reasons or ()),
        Mark.FOREIGN_PROCESS: bool(row.foreign_processes),
        Mark.OTHER_SIDE_RAN: stopped_side_ran(row, resolution_s),
    }
    return tuple(mark for mark, seen in signs.items() if seen)


def require_same_size(candidate: Sequence[int], baseline: Sequence[int]) -> None:
    """Raises SideFailure where the candidate's images have another size than the baseline's."""
    if candidate != baseline:
        detail = f"generate: images of {candidate[1:3]} pixels, the baseline's have {baseline[1:3]}"
        raise SideFailure(Side.CANDIDATE, ChildFailure(Status.BAD_IMAGES, detail))
