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
from typing import Any

import numpy as np

from actors.messages import (
    Batch,
    BatchRow,
    ImageRow,
    Job,
    Layout,
    Limits,
    Mark,
    ModelFile,
    Plan,
    Side,
    SideReport,
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
            device_s = _seconds(answer["device_s"])
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
        texts = {name: _text(facts[name]) for name in names}
        if not isinstance(facts["methods"], list):
            raise ValueError(f"a {type(facts['methods']).__name__} where a list of methods belongs")
        methods = tuple(method for method in METHODS if method in facts["methods"])
        return ModelConfig(**texts, num_inference_steps=_count(facts["num_inference_steps"]), methods=methods)
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


class Measurement:
    """Times the calls of a pair. `batches` and `images` hold what is measured, also when it ends early."""

    def __init__(self, job: Job, scorer: Scorer, meter: GpuMeter, stillness: Stillness, report: Report) -> None:
        """`stillness` makes a context in which nothing of ours but the call uses a CPU."""
        self.job, self.scorer, self.meter = job, scorer, meter
        self.stillness, self.report = stillness, report
        self.layout: Layout | None = None
        self.stopped: Stopped | None = None
        self.batches: list[BatchRow] = []
        self.images: list[ImageRow] = []
        self._coin = random.Random(job.plan.order_seed)
        self._candidate_begins = False

    def interleaved(self, baseline: LoadedSide, candidate: LoadedSide) -> None:
        """Both sides in turns, until the stopping rule says so. Raises SideFailure and Crowded."""
        self.layout = Layout.INTERLEAVED
        self.meter.settle()
        plan = self.job.plan
        waiting, repeats = deque(enumerate(plan.batches)), deque(enumerate(plan.repeats, len(plan.batches)))
        judged = 0
        while waiting:
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
            require_same_size(pixels[Side.CANDIDATE].shape, pixels[Side.BASELINE].shape)
            self._add_images(
                batch, number, self.scorer.score(pixels[Side.BASELINE], batch.prompts), pixels[Side.CANDIDATE]
            )
            judged += 1
            self.stopped = plan.stop([row for row in self.batches if row.judged], self.images)
            if self.stopped:
                return
        self.stopped = Stopped.BOUND

    def in_blocks(self, sides: Iterable[LoadedSide]) -> None:
        """All batches of the baseline, of the candidate, and of the baseline once more, each alone on the device.

        sides: the three, each made ready when it is asked for. What was measured in turns before is kept, and not
        judged. Raises SideFailure.
        """
        self.layout = Layout.BLOCKS
        self.batches = [replace(row, judged=False) for row in self.batches]
        self.images = []
        firsts: list[tuple[tuple[int, ...], list[float]]] = []  # shape and scores of the baseline's first block
        for block, side in enumerate(sides):
            self.meter.settle()
            for number, batch in enumerate(self.job.plan.batches):
                self.report(f"measuring the {side.side} alone", number)
                pixels = self._turn(side, batch, number)
                if block == 0:
                    firsts.append((pixels.shape, self.scorer.score(pixels, batch.prompts)))
                elif side.side is Side.CANDIDATE:
                    require_same_size(pixels.shape, firsts[number][0])
                    self._add_images(batch, number, firsts[number][1], pixels)
        self.stopped = Stopped.BOUND

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
        return pixels

    def _add_images(self, batch: Batch, number: int, baseline: list[float], candidate: Pixels) -> None:
        scores = self.scorer.score(candidate, batch.prompts)
        truncated = self.scorer.truncated(batch.prompts)
        rows = zip(batch.prompts, batch.seeds, truncated, baseline, scores, strict=True)
        self.images += [ImageRow(number, position, *row) for position, row in enumerate(rows)]


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


# The messages say the type, not the value: they go into the record, and a value may be a megabyte of text, or lists in
# lists in lists, whose `repr` ends in a RecursionError.
def _count(value: Any) -> int | None:
    """A claimed count. Raises ValueError for anything that is none."""
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < 1 << 60:  # True is an int, too
        raise ValueError(f"a {type(value).__name__} that is no count")
    return value


def _seconds(value: Any) -> float:
    """A claimed time. Raises ValueError, and OverflowError for an integer that no float can hold."""
    if type(value) not in (int, float):
        raise ValueError(f"a {type(value).__name__} where seconds belong")
    return float(value)


def _text(value: Any) -> str | None:
    """The beginning of a claimed text. Raises ValueError for anything that is none."""
    if value is not None and not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} where a text belongs")
    return value and value[:500]
