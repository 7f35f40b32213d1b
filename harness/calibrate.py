"""`diffharness calibrate`: a model file against itself, on every actor and in several batch sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, variance

import numpy as np

from actors.machine import installed_versions
from actors.messages import Job, ModelFile, Outcome, Status
from harness import stats
from harness.calibration import Calibration, CalibrationFailure, CalibrationRow
from harness.config import Config
from harness.driver import pool_spec, require_fitting_scorer
from harness.evaluation import SourceFacts, Sources, make_record
from harness.figures import paired_batches
from harness.planning import FileReader, captions_of, criteria, draw_secret, measuring_plan, sequential_design
from harness.records import PairRecord
from harness.report.display import DETAIL_LENGTH, Display
from harness.report.text import plain
from harness.requirement import Requirement
from harness.tasks import Difficulty, Pair, Task

GPU_SIZES = (1, 4, 16)
CPU_SIZES = (1, 2, 4)


@dataclass(frozen=True)
class SelfPair:
    """A model file as its own candidate, in batches of one size, on one actor or (place None) on any."""

    path: Path
    file: ModelFile
    facts: SourceFacts
    config: Config  # of this batch size; see `of_size`
    secret: str
    start: int = 1
    actor: str = ""
    place: int | None = None

    @property
    def name(self) -> str:
        """The id of the pair."""
        return f"{self.group}, start {self.start}"

    @property
    def group(self) -> str:
        """What the starts of one batch size on one actor share."""
        return f"{self.actor}, batch {self.config.evaluation.batch_size}"

    def job(self) -> Job:
        """What its actor is to do."""
        assert self.facts.config is not None
        # An actor keeps a baseline warm under the hash of its source. A comment makes each start a baseline of its own.
        comment = f"\n# Start {self.start} in batches of {self.config.evaluation.batch_size}.\n"
        file = replace(self.file, source=self.file.source + comment.encode())
        plan = measuring_plan(self.name, Requirement(), self.secret, self.config, sequential_design(self.config))
        return Job(self.name, 1, file, file, file, self.facts.config, plan, self.config.limits, self.place)

    def record(self, outcome: Outcome) -> PairRecord:
        """What is known of it at the end."""
        task = Task(self.name, "", Difficulty.EASY, None, self.path, self.path, Requirement())
        sources = Sources(self.facts, self.facts, self.facts)
        pair, now = Pair(task, self.path), datetime.now(UTC)
        return make_record(pair, sources, outcome, criteria(self.config), sequential_design(self.config), now)


@dataclass(frozen=True)
class Start:
    """One start of a file's two processes, measured: its record and the log ratios of its batches."""

    record: PairRecord
    log_ratios: tuple[float, ...]


def finding(pair: SelfPair, starts: Sequence[Start], confidence: float) -> CalibrationRow | CalibrationFailure:
    """What a calibration keeps of all starts in batches of one size on one actor."""
    size = pair.config.evaluation.batch_size
    for record in (start.record for start in starts):
        if record.status is not Status.MEASURED:
            # The detail may come out of the model file, with characters that JSON cannot hold.
            detail = plain(record.detail, DETAIL_LENGTH)
            return CalibrationFailure(actor=pair.actor, batch_size=size, status=record.status, detail=detail)
    records, record = [start.record for start in starts], starts[0].record
    logs = np.concatenate([start.log_ratios for start in starts])
    numbers = [number for number, start in enumerate(starts) for _ in start.log_ratios]
    ratio = stats.speedup_of_means(logs, numbers, confidence)
    sides = [(one.baseline_seconds_per_image, one.candidate_seconds_per_image) for one in records]
    return CalibrationRow.model_validate(
        {
            "actor": pair.actor,
            "host": record.host,
            "device": record.device,
            "device_id": record.device_id,
            "batch_size": size,
            "seconds_per_image": fmean(seconds for both in sides for seconds in both if seconds is not None),
            "noise": math.sqrt(fmean(variance(start.log_ratios) for start in starts)),
            "start_means": [fmean(start.log_ratios) for start in starts],
            "restart_s": fmean(one.wall_s - one.timed_s for one in records),
            "speedup": ratio.value,
            "speedup_low": ratio.low,
            "speedup_high": ratio.high,
            "gpu_busy": record.baseline_gpu_busy,
            "timed": sum(one.batches_measured + one.batches_repeated for one in records),
            "disturbed": sum(one.batches_marked + one.batches_repeated for one in records),
        }
    )


def calibrate(
    baseline: Path, config: Config, batch_sizes: Sequence[int], batches: int, restarts: int, display: Display
) -> Calibration:
    """Measures a model file against itself on every actor of the pool.

    batch_sizes: each is measured; none: GPU_SIZES or CPU_SIZES. batches: timed calls of each side in each start, at
    least 2. restarts: starts of both processes, at least 2.
    Raises ModelFileError, ReaderError, ModelNotFound, ConfigError, CaptionsError and PoolError before anything is
    measured.
    """
    reader = FileReader(config)
    file, facts = reader.read_trusted(baseline)
    secret = draw_secret(config)

    def pair_of(size: int) -> SelfPair:
        return SelfPair(baseline, file, facts, of_size(config, size, batches), secret)

    require_fitting_scorer(config, [pair_of(min(batch_sizes, default=1)).job()])
    from actors.pool import Pool  # Ray takes half a second to import

    starts: dict[str, list[Start]] = {}
    versions = None
    captions = captions_of(of_size(config, max(batch_sizes or (*GPU_SIZES, *CPU_SIZES)), batches))
    with Pool(pool_spec(config, reader.models, captions), display.progress) as pool:
        sizes = sorted(set(batch_sizes or (GPU_SIZES if pool.on_gpus else CPU_SIZES)))
        everywhere = [
            replace(pair, actor=slot.name, place=slot.place, start=start)
            for pair in map(pair_of, sizes)
            for start in range(1, restarts + 1)
            for slot in pool.slots
        ]
        pairs = {pair.name: pair for pair in everywhere}
        display.start(len(pairs), 0)
        for outcome in pool.run([pair.job() for pair in pairs.values()]):
            record = pairs[outcome.pair].record(outcome)
            measured = paired_batches(outcome.batches) if record.status is Status.MEASURED else []
            start = Start(record, tuple(math.log(batch.baseline_s / batch.candidate_s) for batch in measured))
            starts.setdefault(pairs[outcome.pair].group, []).append(start)
            versions = versions or record.versions
            display.finished(record)
    groups = {pair.group: pair for pair in everywhere}
    ordered = [finding(pair, starts[group], config.evaluation.confidence) for group, pair in groups.items()]
    return Calibration(
        date=datetime.now(UTC),
        versions=versions or installed_versions(),
        baseline=str(baseline),
        baseline_sha256=file.sha256,
        confidence=config.evaluation.confidence,
        batches=batches,
        rows=tuple(finding for finding in ordered if isinstance(finding, CalibrationRow)),
        failures=tuple(finding for finding in ordered if isinstance(finding, CalibrationFailure)),
    )


def of_size(config: Config, size: int, batches: int) -> Config:
    """The configuration for batches of one size, all of which are measured."""
    changes = {"protocol": "fixed", "batch_size": size, "prompts": size * batches, "restarts": 1}
    evaluation = config.evaluation.model_copy(update=changes)
    pool = config.pool.model_copy(update={"calibration": None})
    return config.model_copy(update={"evaluation": evaluation, "pool": pool})
