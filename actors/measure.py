"""One pair on one device: load, warm up, take turns, score, until enough is known.

Both sides stay loaded and take turns on the same prompts and seeds in the order A B B A, so that a slow drift of the
machine falls on both alike. The supervisor's clock is judged; the child's own is recorded beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from actors.messages import Batch, BatchRow, ImageRow, Job, Limits, ModelFile, Side, SideReport, Status
from actors.model_config import METHODS, ModelConfig
from actors.sandbox import Child, ChildFailure
from actors.scoring import Scorer

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Report = Callable[[str, int], None]  # the phase, and the timed batches done


@dataclass
class LoadedSide:
    """A child with its pipeline loaded and, after `warm_up`, warm."""

    side: Side
    child: Child
    load_s: float
    config: ModelConfig
    warmup_s: list[float] = field(default_factory=list)

    @classmethod
    def load(cls, side: Side, child: Child, file: ModelFile) -> LoadedSide:
        """Makes the pipeline of `file` in `child`. Raises ChildFailure."""
        request = {"path": file.path, "call": dict(file.call), "steps": file.steps}
        *_, seconds = child.ask("load", "load_s", request, file.source)
        return cls(side, child, seconds, ask_config(child))

    def warm_up(self, batches: tuple[Batch, ...]) -> None:
        """Untimed calls at full steps, in requests that look just like timed ones; then the facts are read anew."""
        for batch in batches:
            row, _ = self.call(batch, 0, 0, "warmup_s")
            self.warmup_s.append(row.wall_s)
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
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ChildFailure(Status.BAD_ANSWER, f"generate: a field is missing or wrong ({error!r})") from error
        pixels = check_pixels(shape, data, len(batch.prompts))
        row = BatchRow(number, turn, self.side, len(batch.prompts), wall_s, device_s, calls, memory, started)
        return row, pixels

    def report(self, warm_from_before: bool = False) -> SideReport:
        """What this side cost until now."""
        return SideReport(self.config, self.load_s, tuple(self.warmup_s), warm_from_before)


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


@dataclass
class Measurement:
    """Takes the turns of a pair. `batches` and `images` hold what is measured, also when it ends early."""

    job: Job
    baseline: LoadedSide
    candidate: LoadedSide
    scorer: Scorer
    batches: list[BatchRow] = field(default_factory=list)
    images: list[ImageRow] = field(default_factory=list)

    def run(self, report: Report) -> None:
        """Measures every batch of the job. Raises SideFailure."""
        for number, batch in enumerate(self.job.batches):
            report("measuring", number)
            order = [self.baseline, self.candidate] if number % 2 == 0 else [self.candidate, self.baseline]
            pixels = {side.side: self._turn(side, batch, number) for side in order}
            if pixels[Side.BASELINE].shape != pixels[Side.CANDIDATE].shape:
                shapes = [pixels[side].shape[1:3] for side in (Side.CANDIDATE, Side.BASELINE)]
                detail = f"generate: images of {shapes[0]} pixels, the baseline's have {shapes[1]}"
                raise SideFailure(Side.CANDIDATE, ChildFailure(Status.BAD_IMAGES, detail))
            self._score(batch, number, pixels)

    def _turn(self, side: LoadedSide, batch: Batch, number: int) -> Pixels:
        try:
            row, pixels = side.call(batch, number, len(self.batches), "call_s")
            check_clocks(row, self.job.limits)
        except ChildFailure as failure:
            raise SideFailure(side.side, failure) from failure
        self.batches.append(row)
        return pixels

    def _score(self, batch: Batch, number: int, pixels: Mapping[Side, Pixels]) -> None:
        baseline = self.scorer.score(pixels[Side.BASELINE], batch.prompts)
        candidate = self.scorer.score(pixels[Side.CANDIDATE], batch.prompts)
        truncated = self.scorer.truncated(batch.prompts)
        rows = zip(batch.prompts, batch.seeds, truncated, baseline, candidate, strict=True)
        self.images += [ImageRow(number, position, *row) for position, row in enumerate(rows)]


def _count(value: Any) -> int | None:
    """A claimed count. Raises TypeError or ValueError for anything that is none."""
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < 1 << 60:  # True is an int, too
        raise ValueError(f"no count: {value!r}"[:100])
    return value
