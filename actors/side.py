"""One side of a pair: a child with its pipeline, and what it answers, taken for no more than a claim.

Every field of an answer is checked for its type and its bounds before anything is done with it; what does not fit is a
ChildFailure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from actors.escaped import escaped
from actors.kernel_cache import MOST_BYTES
from actors.messages import Batch, BatchRow, Limits, ModelFile, Plan, Side, SideReport, Status
from actors.model_config import METHODS, ModelConfig
from actors.profiling import Profile, read_profile
from actors.sandbox import Child, ChildFailure

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass
class LoadedSide:
    """A child with its pipeline loaded and, after `warm_up`, warm."""

    side: Side
    child: Child
    load_s: float
    config: ModelConfig
    warmup_s: list[float] = field(default_factory=list)
    warmup_cpu_s: list[float] = field(default_factory=list)
    steady: bool = False
    warmup_calls: int | None = None  # of its denoiser, the fewest in a warm-up call; None where nothing counts them
    alloc_retries: int = 0  # since the child started
    retries_alone: int = 0  # of those, before the other side was loaded, too
    profile: Profile | None = None
    loaded_at: float = field(default_factory=time.monotonic)

    @classmethod
    def load(cls, side: Side, child: Child, file: ModelFile, kernels: bytes = b"") -> LoadedSide:
        """Makes the pipeline of `file` in `child`, which has the use of `kernels`. Raises ChildFailure."""
        if kernels:
            child.ask("take_kernels", "load_s", {}, kernels)
        request = {"path": file.path, "call": dict(file.call), "steps": file.steps}
        *_, seconds = child.ask("load", "load_s", request, file.source)
        return cls(side, child, seconds, ask_config(child))

    def warm_up(self, plan: Plan, batches: Sequence[Batch]) -> None:
        """Untimed calls at full steps, in requests that look just like timed ones, until two in a row take the same.

        Then the facts are read anew. batches: at most these. Raises ChildFailure.
        """
        for batch in batches:
            row, _ = self.call(batch, 0, 0, "warmup_s")
            self.steady = bool(self.warmup_s) and agree(self.warmup_s[-1], row.wall_s, plan.warmup_agreement)
            self.warmup_s.append(row.wall_s)
            self.warmup_cpu_s.append(row.cpu_s or 0.0)
            counts = [count for count in (self.warmup_calls, row.denoiser_calls) if count is not None]
            self.warmup_calls = min(counts, default=None)
            if self.steady and len(self.warmup_s) >= plan.warmup_at_least:
                break
        if self.side is Side.BASELINE:
            self.retries_alone = self.alloc_retries
        self.config = ask_config(self.child)

    def call(
        self, batch: Batch, number: int, turn: int, limit: str, answered: Callable[[], None] = lambda: None
    ) -> tuple[BatchRow, Pixels]:
        """One call of the pipeline, timed by both clocks. Raises ChildFailure, also for images that are not right.

        answered: called as soon as the answer is there.
        """
        request = {"prompts": batch.prompts, "seeds": batch.seeds}
        room = len(batch.prompts) * self.child.limits.image_pixels * 3
        started, cpu_s = time.time(), self.child.cpu_s()
        answer, data, wall_s = self.child.ask("generate", limit, request, max_payload=room, answered=answered)
        cpu_s = self.child.answer_cpu_s - cpu_s
        try:
            shape = tuple(_count(size) or 0 for size in answer["shape"][:5])
            device_s = _seconds(answer["device_s"])
            calls, memory = _count(answer["denoiser_calls"]), _count(answer["peak_memory_bytes"])
            self.alloc_retries = _count(answer["alloc_retries"]) or 0
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ChildFailure(Status.BAD_ANSWER, f"generate: a field is missing or wrong ({error!r})") from error
        pixels = check_pixels(shape, data, len(batch.prompts))
        row = BatchRow(number, turn, self.side, len(batch.prompts), wall_s, device_s, calls, memory, started, cpu_s)
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

    def give_kernels(self) -> bytes:
        """What CUDA compiled in its child, for the child of another side. Raises ChildFailure."""
        return bytes(self.child.ask("give_kernels", "load_s", {}, max_payload=MOST_BYTES)[1])

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
    """The beginning of a claimed text, in one line that steers nothing. Raises ValueError for anything that is none."""
    if value is not None and not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} where a text belongs")
    return value and escaped(value[:500])[:500]
