"""What a calibration found, and what follows from it: how small a difference shows, and which devices are apart."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actors.draws import share
from harness import stats
from harness.config import Evaluation
from harness.durable import replace_json
from harness.records import PairRecord
from harness.stats import StartSpread

FEW_BATCHES = (4, 8, 16)  # what a pair may cost
MANY_BATCHES = (32, 64)  # where nothing else helps
STARTS = (1, 2, 4, 8)  # with a calibration, which says how much they differ
STARTS_ALONE = range(4, 13)  # without one: fewer say too little of their spread, more are dear
SHOWN_PROBLEMS = 3


class CalibrationError(ValueError):
    """A calibration file cannot be read or written; says why and what to mend."""


class _Stored(BaseModel):
    """A part of the file: no unknown keys, no NaN, and nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CalibrationRow(_Stored):
    """A model file against itself, in batches of one size on one actor, in several starts of both processes.

    seconds_per_image: mean of both sides. noise: standard deviation of the paired batches' log ratios within starts.
    start_means: mean log ratio of each start; the candidate's process was started last. restart_s: what a start took,
    without its judged calls. speedup: of the file over itself, with an interval from the starts' means. gpu_busy: share
    of a call in which a kernel ran; None on a CPU. timed: batches, repeats included; disturbed: those of them that the
    machine disturbed.
    """

    actor: str
    host: str
    device: str
    device_id: str
    batch_size: int = Field(ge=1)
    seconds_per_image: float = Field(gt=0)
    noise: float = Field(ge=0)
    start_means: tuple[float, ...] = Field(min_length=2)
    restart_s: float = Field(ge=0)
    speedup: float = Field(gt=0)
    speedup_low: float = Field(gt=0)
    speedup_high: float = Field(gt=0)
    gpu_busy: float | None = Field(ge=0, le=1)
    timed: int = Field(ge=1)
    disturbed: int = Field(ge=0)

    @property
    def spread(self) -> StartSpread:
        """How much starts differ, and how much slower the process is that was started last."""
        std = stdev(self.start_means)
        seen = abs(self.order_effect) > self.order_error
        effect = max(abs(self.order_effect) if seen else 0.0, stats.START_ORDER_EFFECT)
        return StartSpread(std, len(self.start_means) - 1, effect)

    @property
    def order_effect(self) -> float:
        """Log of how much slower the process was that was started last."""
        return -fmean(self.start_means)

    @property
    def order_error(self) -> float:
        """Half of the 95% interval of `order_effect`."""
        count = len(self.start_means)
        return stats.students_t(count - 1, 0.95) * stdev(self.start_means) / math.sqrt(count)

    def std_between(self, batches: int) -> float:
        """The standard deviation of starts of so many batches, without what the noise within them makes of it."""
        return math.sqrt(max(0.0, stdev(self.start_means) ** 2 - self.noise**2 / batches))

    def start_cost(self) -> float:
        """What a start takes, in batches of both sides."""
        return self.restart_s / (2 * self.seconds_per_image * self.batch_size)

    def batches_per_start(self, batches: int) -> int:
        """How many batches of a start cost least for an interval from the means of starts; `batches` if they are alike.

        sqrt(c s_w^2 / s_b^2), where c is the cost of a start in batches, s_w the standard deviation within starts and
        s_b the one between (Kalibera and Jones, ISMM 2013). batches: that each of `start_means` is the mean of.
        """
        between = self.std_between(batches)
        if between == 0:
            return batches
        return max(1, round(math.sqrt(self.start_cost()) * self.noise / between))


class CalibrationFailure(_Stored):
    """Batches of one size on one actor that could not be measured."""

    actor: str
    batch_size: int
    status: str
    detail: str


class Calibration(_Stored):
    """All that one call of `diffharness calibrate` found."""

    schema_version: Literal[2] = 2
    date: datetime
    versions: Mapping[str, str]  # of the packages on the first actor's machine
    baseline: str
    baseline_sha256: str
    confidence: float
    batches: int  # timed calls of each side, in every start
    rows: tuple[CalibrationRow, ...]
    failures: tuple[CalibrationFailure, ...]


@dataclass(frozen=True)
class Suggestion:
    """Settings under which every device still tells `half_width` apart after `batches` batches of a pair."""

    batch_size: int
    batches: int
    restarts: int
    prompts: int
    half_width: float


@dataclass(frozen=True)
class Apart:
    """Two devices that do not take the same time. share: how much longer the slower one takes for an image."""

    faster: CalibrationRow
    slower: CalibrationRow
    share: float


def read_calibration(path: Path) -> Calibration:
    """What `write_calibration` wrote. Raises CalibrationError."""
    try:
        return Calibration.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CalibrationError(f"{path}: the calibration cannot be read: {error.strerror}") from error
    except ValidationError as error:
        found = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}".lstrip(": ") for problem in error.errors()]
        said = "; ".join(found[:SHOWN_PROBLEMS])
        raise CalibrationError(
            f"{path}: no calibration of this version of diffharness ({said}); "
            "name what `diffharness calibrate` wrote, or call it again"
        ) from error


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Writes the JSON file that `read_calibration` reads. Raises CalibrationError."""
    try:
        replace_json(path, calibration.model_dump(mode="json"))
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be written: {error.strerror}; give another --out") from error


def require_place(path: Path) -> None:
    """Raises CalibrationError where a file cannot be written, before minutes are spent on what goes into it."""
    if os.path.isdir(path) or not os.access(path.absolute().parent, os.W_OK | os.X_OK):  # noqa: PTH112  (it never raises)
        raise CalibrationError(f"{path}: give a file in a folder that is there, and that you may write to, as --out")


def distinguishable(
    noise: float, batches: int, confidence: float, spread: StartSpread | None = None, starts: int = 1
) -> float:
    """The smallest difference of a speedup that shows after `batches` batches, of as many planned: a ratio minus 1.

    It is what the upper end of `stats.speedup`'s interval lies above its value.

    Args:
        noise: standard deviation of the log ratios within a start.
        batches: at least one more than `starts`.
        confidence: of all looks together.
        spread: of starts, for a speedup of the files. None: for one of the two processes that run.
        starts: of both processes, which share out the batches.
    """
    sizes = [share(batches, starts, start) for start in range(starts)]
    deviations = np.concatenate([np.linspace(-1.0, 1.0, size) if size > 1 else np.zeros(1) for size in sizes])
    logs = deviations * noise * math.sqrt((batches - starts) / float(deviations @ deviations))
    between = spread.half_width(sizes, confidence) if spread else 0.0
    level = stats.confidence_at_look(batches, batches, confidence)
    ratio = stats.speedup(logs, level, np.repeat(range(starts), sizes).tolist(), between)
    return _reach(ratio, spread, starts)


def distinguishable_by_starts(std: float, starts: int, confidence: float) -> float:
    """The same if no calibration says how much starts differ: then an interval is made of their means.

    std: standard deviation of the means. starts: at least 2.
    """
    deviations = np.linspace(-1.0, 1.0, starts)
    level = stats.confidence_at_look(starts, starts, confidence)
    ratio = stats.speedup_of_means(deviations * std / deviations.std(ddof=1), range(starts), level)
    return _reach(ratio, None, starts)


def _reach(ratio: stats.Interval, spread: StartSpread | None, starts: int) -> float:
    """What the upper end lies above the value. Of an odd number of starts, one favours a side by its place."""
    effect = stats.START_ORDER_EFFECT if spread is None else spread.order_effect
    wide = stats.widened(ratio, effect * (starts % 2) / starts)
    assert wide.high is not None
    return wide.high / wide.value - 1


def start_spread(calibration: Calibration, batch_size: int) -> StartSpread | None:
    """The widest spread of any device, at the batch size nearest to this one; None if nothing was measured."""
    spreads = worst_spread(calibration.rows, calibration.confidence)
    return spreads[nearest_size(spreads, batch_size)] if spreads else None


def worst_spread(rows: Iterable[CalibrationRow], confidence: float) -> dict[int, StartSpread]:
    """Of every batch size the widest spread of starts of any device: any pair may be measured there."""
    by_size: dict[int, list[StartSpread]] = {}
    for row in sorted(rows, key=lambda row: row.batch_size):
        by_size.setdefault(row.batch_size, []).append(row.spread)
    return {
        size: replace(
            max(spreads, key=lambda spread: spread.half_width([1], confidence)),
            order_effect=max(spread.order_effect for spread in spreads),
        )
        for size, spreads in by_size.items()
    }


def nearest_size(sizes: Iterable[int], batch_size: int) -> int:
    """Of these batch sizes the one whose ratio to `batch_size` is nearest to 1."""
    return min(sorted(sizes), key=lambda size: abs(math.log(size / batch_size)))


def worst_noise(rows: Iterable[CalibrationRow]) -> dict[int, float]:
    """Of every batch size, in increasing order, the noise on the noisiest device: any pair may be measured there."""
    worst: dict[int, float] = {}
    for row in sorted(rows, key=lambda row: row.batch_size):
        worst[row.batch_size] = max(row.noise, worst.get(row.batch_size, 0.0))
    return worst


def suggest(noise: Mapping[int, float], spreads: Mapping[int, StartSpread], settings: Evaluation) -> Suggestion:
    """The fewest starts and the smallest batch size that reach the configured half width within 16 batches.

    If no batch size does, the quietest one with up to 64 batches, and then more starts. If nothing does, the suggestion
    has the half width that is reached. No fewer prompts than now: the loss of quality needs them.

    noise, spreads: by batch size, as of `worst_noise` and `worst_spread`; not empty. The spread is that of a run with
    this calibration.
    """
    quietest = min(noise, key=noise.__getitem__)
    sizes = [(size, batches) for size in sorted(noise) for batches in FEW_BATCHES]
    sizes += [(quietest, batches) for batches in MANY_BATCHES]
    choices = [(starts, *one) for starts in STARTS for one in sizes if one[1] >= 2 * starts]

    def reached(starts: int, size: int, batches: int) -> float:
        return distinguishable(noise[size], batches, settings.confidence, spreads[size], starts)

    found = next((choice for choice in choices if reached(*choice) <= settings.half_width), choices[-1])
    starts, size, batches = found
    planned = max(batches, math.ceil(settings.prompts / size))  # a look before the last of them would tell less
    return Suggestion(size, planned, starts, planned * size, _wide_enough(reached(*found), settings))


def suggest_starts(rows: Sequence[CalibrationRow], batches: int, settings: Evaluation) -> Suggestion:
    """Settings for a run without a calibration, which makes an interval of the means of starts.

    Each start has the batches that cost least there, or more if the prompts are more. rows: of one batch size; not
    empty. batches: that each of their `start_means` is the mean of.
    """
    row = max(rows, key=lambda row: row.std_between(batches))
    size, noise = row.batch_size, max(row.noise for row in rows)

    def planned(starts: int) -> int:
        each = max(row.batches_per_start(batches), math.ceil(settings.prompts / size / starts))
        return each * starts

    def reached(starts: int) -> float:
        std = math.hypot(row.std_between(batches), noise / math.sqrt(planned(starts) / starts))
        return distinguishable_by_starts(std, starts, settings.confidence)

    starts = next((starts for starts in STARTS_ALONE if reached(starts) <= settings.half_width), STARTS_ALONE[-1])
    return Suggestion(size, planned(starts), starts, planned(starts) * size, _wide_enough(reached(starts), settings))


def _wide_enough(reached: float, settings: Evaluation) -> float:
    """The configured half width if it is reached, else the one that is; the key takes none of 1 or more."""
    return settings.half_width if reached <= settings.half_width else min(math.ceil(1000 * reached) / 1000, 0.999)


def apart(rows: Sequence[CalibrationRow], tolerance: float) -> list[Apart]:
    """Of every batch size the fastest and the slowest device, where they differ by more than the share `tolerance`."""
    found = []
    for size in sorted({row.batch_size for row in rows}):
        ordered = sorted((row for row in rows if row.batch_size == size), key=lambda row: row.seconds_per_image)
        share = ordered[-1].seconds_per_image / ordered[0].seconds_per_image - 1
        if share > tolerance:
            found.append(Apart(ordered[0], ordered[-1], share))
    return found


def rows_for_run(
    calibration: Calibration, records: Iterable[PairRecord], batch_size: int
) -> tuple[list[CalibrationRow], set[str]]:
    """The rows of the devices that a run used, at the batch size nearest to the run's.

    Also the ids of those devices that the calibration does not know. A CPU is known by its host.
    """
    used = {(record.host, record.device_id) for record in records if record.device_id is not None}
    rows = [row for row in calibration.rows if (row.host, row.device_id) in used]
    unknown = used - {(row.host, row.device_id) for row in rows}
    sizes = {row.batch_size for row in rows}
    nearest = nearest_size(sizes, batch_size) if sizes else None
    return [row for row in rows if row.batch_size == nearest], {f"{device} of {host}" for host, device in unknown}
