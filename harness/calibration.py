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

from harness import stats
from harness.config import Evaluation
from harness.durable import replace_json
from harness.records import PairRecord
from harness.stats import StartSpread

FEW_BATCHES = (4, 8, 16)  # what a pair may cost
MANY_BATCHES = (32, 64)  # where nothing else helps
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
        count, std = len(self.start_means), stdev(self.start_means)
        mean = abs(fmean(self.start_means))
        seen = mean > stats.students_t(count - 1, 0.95) * std / math.sqrt(count)
        return StartSpread(std, count - 1, max(mean if seen else 0.0, stats.START_ORDER_EFFECT))

    def batches_per_start(self, batches: int) -> int:
        """How many batches of a start cost least for an interval from the means of starts; 1 if starts are alike.

        sqrt(c s_w^2 / s_b^2), where c is the cost of a start in batches, s_w the standard deviation within starts and
        s_b the one between (Kalibera and Jones, ISMM 2013). batches: that each of `start_means` is the mean of.
        """
        between = stdev(self.start_means) ** 2 - self.noise**2 / batches
        cost = self.restart_s / (2 * self.seconds_per_image * self.batch_size)
        return max(1, round(math.sqrt(cost * self.noise**2 / between))) if between > 0 else batches


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
    """Settings under which the noisiest device still tells `half_width` apart after `batches` batches of a pair."""

    batch_size: int
    batches: int
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


def distinguishable(noise: float, batches: int, confidence: float) -> float:
    """The smallest difference of a speedup that shows after `batches` batches, of as many planned: a ratio minus 1.

    It is what the upper end of `stats.speedup`'s interval lies above its value. noise: standard deviation of the log
    ratios. batches: at least 2. confidence: of all looks together.
    """
    deviations = np.linspace(-1.0, 1.0, batches)
    log_ratios = deviations * (noise / np.std(deviations, ddof=1))
    level = stats.confidence_at_look(batches, batches, confidence)
    ratio = stats.speedup(log_ratios, level)
    assert ratio.high is not None
    return ratio.high / ratio.value - 1


def start_spread(calibration: Calibration, batch_size: int) -> StartSpread | None:
    """The widest spread of any device, at the batch size nearest to this one; None if nothing was measured.

    Any pair may be measured on any device.
    """
    sizes = {row.batch_size for row in calibration.rows}
    if not sizes:
        return None
    size = nearest_size(sizes, batch_size)
    spreads = [row.spread for row in calibration.rows if row.batch_size == size]
    widest = max(spreads, key=lambda spread: spread.half_width([1], calibration.confidence))
    return replace(widest, order_effect=max(spread.order_effect for spread in spreads))


def nearest_size(sizes: Iterable[int], batch_size: int) -> int:
    """Of these batch sizes the one whose ratio to `batch_size` is nearest to 1."""
    return min(sorted(sizes), key=lambda size: abs(math.log(size / batch_size)))


def worst_noise(rows: Iterable[CalibrationRow]) -> dict[int, float]:
    """Of every batch size, in increasing order, the noise on the noisiest device: any pair may be measured there."""
    worst: dict[int, float] = {}
    for row in sorted(rows, key=lambda row: row.batch_size):
        worst[row.batch_size] = max(row.noise, worst.get(row.batch_size, 0.0))
    return worst


def suggest(noise: Mapping[int, float], settings: Evaluation) -> Suggestion:
    """The smallest batch size that reaches the configured half width within 16 batches, else the quietest one.

    noise: by batch size, as of `worst_noise`; not empty. Where 64 batches do not reach the half width either, the
    suggestion has the one that they do reach. No fewer prompts than now: the loss of quality needs them.
    """
    reached = {
        (size, batches): distinguishable(noise[size], batches, settings.confidence)
        for size in noise
        for batches in (*FEW_BATCHES, *MANY_BATCHES)
    }
    quietest = min(noise, key=noise.__getitem__)
    choices = [(size, batches) for size in sorted(noise) for batches in FEW_BATCHES]
    choices += [(quietest, batches) for batches in MANY_BATCHES]
    size, batches = next((choice for choice in choices if reached[choice] <= settings.half_width), choices[-1])
    half_width = settings.half_width
    if reached[size, batches] > half_width:
        half_width = min(math.ceil(1000 * reached[size, batches]) / 1000, 0.999)  # the key takes nothing above
    planned = max(batches, math.ceil(settings.prompts / size))  # a look before the last of them would tell less
    return Suggestion(size, planned, planned * size, half_width)


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
