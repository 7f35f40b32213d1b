"""One pair on one device: load, warm up, take turns, score, until enough is known.

Both sides stay loaded and take turns on the same prompts and seeds. The order within two batches is A B B A or
B A A B, as a coin decides: a slow drift of the machine falls on both sides alike, and what repeats itself on the
machine falls on each with either sign. Where memory does not hold both, the baseline is timed in two blocks around the
candidate's. The supervisor's clock is judged; the child's own is recorded beside it.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from statistics import median
from typing import Any

import numpy as np

from actors.image_statistics import similarity
from actors.integrity import ImageWatch, score_too_good, too_fast
from actors.messages import (
    Batch,
    BatchRow,
    Finding,
    ImageRow,
    Job,
    Layout,
    Limits,
    Mark,
    ModelFile,
    Plan,
    Side,
    SideReport,
    Sign,
    Status,
    Stopped,
)
from actors.model_config import METHODS, ModelConfig
from actors.profiling import Profile, read_profile
from actors.sandbox import Child, ChildFailure
from actors.scoring import Scorer
from actors.telemetry import DISTURBING, GpuMeter

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Stillness = Callable[[], AbstractContextManager[None]]
Report = Callable[[str, int], None]  # the phase, and the judged batches so far

# A baseline that takes this much longer beside a candidate than alone is timed alone once more.
SLOWED = 1.2
CALLS_ALONE = 3

ASKED_AGAIN = frozenset({Sign.NOT_REPEATABLE, Sign.SEED_IGNORED})  # what shows only in a batch that is asked for again


@dataclass
class LoadedSide:
    """A child with its pipeline loaded and, after `warm_up`, warm."""

    side: Side
    child: Child
    load_s: float
    config: ModelConfig
    warmup_s: list[float] = field(default_factory=list)
    steady: bool = False
    alloc_retries: int = 0  # since the child started
    retries_alone: int = 0  # of those, before the other side was loaded, too
    profile: Profile | None = None

    @classmethod
    def load(cls, side: Side, child: Child, file: ModelFile) -> LoadedSide:
        """Makes the pipeline of `file` in `child`. Raises ChildFailure."""
        request = {"path": file.path, "call": dict(file.call), "steps": file.steps}
        *_, seconds = child.ask("load", "load_s", request, file.source)
        return cls(side, child, seconds, ask_config(child))

    def warm_up(self, plan: Plan) -> None:
        """Untimed calls at full steps, in requests that look just like timed ones, until two in a row take the same.

        Then the facts are read anew. Raises ChildFailure.
        """
        for batch in plan.warmup:
            row, _ = self.call(batch, 0, 0, "warmup_s")
            self.steady = bool(self.warmup_s) and agree(self.warmup_s[-1], row.wall_s, plan.warmup_agreement)
            self.warmup_s.append(row.wall_s)
            if self.steady and len(self.warmup_s) >= plan.warmup_at_least:
                break
        if self.side is Side.BASELINE:
            self.retries_alone = self.alloc_retries
        self.config = ask_config(self.child)

    def call(self, batch: Batch, number: int, turn: int, limit: str) -> tuple[BatchRow, Pixels]:
        """One call of the pipeline, timed by both clocks. Raises ChildFailure, also for images that are not right."""
        request = {"prompts": batch.prompts, "seeds": batch.seeds}
        room = len(batch.prompts) * self.child.limits.image_pixels * 3
        started = time.time()
        answer, data, wall_s = self.child.ask("generate", limit, request, max_payload=room)
        try:
            shape = tuple(_count(size) or 0 for size in answer["shape"][:5])
            device_s = float(answer["device_s"])
            calls, memory = _count(answer["denoiser_calls"]), _count(answer["peak_memory_bytes"])
            self.alloc_retries = _count(answer["alloc_retries"]) or 0
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ChildFailure(Status.BAD_ANSWER, f"generate: a field is missing or wrong ({error!r})") from error
        pixels = check_pixels(shape, data, len(batch.prompts))
        row = BatchRow(number, turn, self.side, len(batch.prompts), wall_s, device_s, calls, memory, started)
        return row, pixels

    def take_profile(self, batch: Batch) -> None:
        """One more call, untimed, under the profiler. Raises ChildFailure."""
        answer, *_ = self.child.ask("profile", "warmup_s", {"prompts": batch.prompts, "seeds": batch.seeds})
        try:
            self.profile = read_profile(answer)
        except ValueError as error:
            raise ChildFailure(Status.BAD_ANSWER, f"profile: {error}") from error

    def count_work(self, batch: Batch) -> float:
        """The floating-point operations that an image takes, counted in one more call. Raises ChildFailure."""
        answer, *_ = self.child.ask("work", "warmup_s", {"prompts": batch.prompts, "seeds": batch.seeds})
        try:
            return (_count(answer["operations"]) or 0) / len(batch.prompts)
        except (KeyError, TypeError, ValueError) as error:
            raise ChildFailure(Status.BAD_ANSWER, f"work: a field is missing or wrong ({error!r})") from error

    def report(self, warm_from_before: bool = False) -> SideReport:
        """What this side cost until now."""
        return SideReport(self.config, self.load_s, tuple(self.warmup_s), self.steady, warm_from_before, self.profile)


def agree(first_s: float, second_s: float, tolerance: float) -> bool:
    """Whether two times differ by no more than the share `tolerance` of the shorter one."""
    return max(first_s, second_s) <= (1 + tolerance) * min(first_s, second_s)


def ask_config(child: Child) -> ModelConfig:
    """What the child says of its live pipeline. Raises ChildFailure."""
    answer, *_ = child.ask("config", "load_s", {})
    try:
        facts: Mapping[str, Any] = answer["config"]
        names = {f.name for f in fields(ModelConfig)} - {"methods", "num_inference_steps"}
        texts = {name: None if facts[name] is None else str(facts[name])[:500] for name in names}
        steps = None if facts["num_inference_steps"] is None else int(facts["num_inference_steps"])
        methods = tuple(method for method in METHODS if method in facts["methods"])
        return ModelConfig(**texts, num_inference_steps=steps, methods=methods)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ChildFailure(Status.BAD_ANSWER, f"config: a field is missing or wrong ({error!r})") from error


def check_pixels(shape: tuple[int, ...], data: bytearray, count: int) -> Pixels:
    """The images of an answer as an array (count, height, width, 3). Raises ChildFailure unless all of it fits."""
    if len(shape) != 4 or shape[3] != 3 or min(shape) < 1 or np.prod(shape, dtype=object) != len(data):
        raise ChildFailure(Status.BAD_ANSWER, f"generate: {len(data)} bytes for images of shape {shape}")
    if shape[0] != count:
        raise ChildFailure(Status.BAD_IMAGES, f"generate: {shape[0]} images for {count} prompts")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def check_clocks(row: BatchRow, limits: Limits) -> None:
    """Raises ChildFailure where the child's clock is implausible beside the supervisor's."""
    slack = max(limits.clock_slack_s, limits.clock_slack * row.wall_s)
    if not (0 < row.device_s <= row.wall_s and row.wall_s - row.device_s <= slack):
        detail = f"generate: {row.device_s:.4f} s by its own clock, {row.wall_s:.4f} s by the supervisor's"
        raise ChildFailure(Status.CLOCK_MISMATCH, detail)


class SideFailure(Exception):
    """A ChildFailure with the side that it happened on."""

    def __init__(self, side: Side, failure: ChildFailure) -> None:
        super().__init__(f"{side}: {failure}")
        self.side, self.failure = side, failure


@contextmanager
def failures_of(side: Side) -> Iterator[None]:
    """Says of a ChildFailure whose it is."""
    try:
        yield
    except ChildFailure as failure:
        raise SideFailure(side, failure) from failure


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

    def __init__(self, job: Job, scorer: Scorer, meter: GpuMeter, stillness: Stillness, report: Report) -> None:
        """`stillness` makes a context in which nothing of ours but the call uses a CPU."""
        self.job, self.scorer, self.meter = job, scorer, meter
        self.stillness, self.report = stillness, report
        self.layout: Layout | None = None
        self.stopped: Stopped | None = None
        self.batches: list[BatchRow] = []
        self.images: list[ImageRow] = []
        self.findings: dict[Sign, Finding] = {}
        self.floor_s: float | None = None  # of an image: no known method is as fast
        self._watch = ImageWatch()
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
        self._sample, self._drawn, self._watch = None, 0, ImageWatch()
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
        with failures_of(Side.BASELINE):
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
        if side.side is Side.CANDIDATE and self.floor_s is not None:
            self._note(too_fast(row.wall_s, self.floor_s * row.images))
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
        """Two more untimed calls, in requests like all others: a judged batch again, and its prompts with other seeds.

        Raises SideFailure.
        """
        sample, seeds = self._sample, self.job.plan.other_seeds
        if sample is None or not seeds:
            return
        other = Batch(sample.batch.prompts, seeds[: len(sample.batch.prompts)])
        with failures_of(side.side):
            watch.repeated(sample.pixels[side.side], side.call(sample.batch, 0, 0, "call_s")[1])
            watch.reseeded(sample.pixels[side.side], side.call(other, 0, 0, "call_s")[1])

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


def _count(value: Any) -> int | None:
    """A claimed count. Raises TypeError or ValueError for anything that is none."""
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < 1 << 60:  # True is an int, too
        raise ValueError(f"no count: {value!r}"[:100])
    return value
