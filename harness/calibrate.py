"""`diffharness calibrate`: a model file against itself, on every actor and in several batch sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import log
from pathlib import Path
from statistics import fmean, stdev

from actors.machine import installed_versions
from actors.messages import BatchRow, Job, ModelFile, Outcome, Status
from harness.calibration import Calibration, CalibrationFailure, CalibrationRow
from harness.config import Config
from harness.driver import pool_spec, require_fitting_scorer
from harness.evaluation import SourceFacts, Sources, make_record, paired_batches
from harness.planning import FileReader, captions_of, criteria, draw_secret, looks, measuring_plan
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
    actor: str = ""
    place: int | None = None

    @property
    def name(self) -> str:
        """The id of the pair."""
        return f"batch {self.config.evaluation.batch_size} on {self.actor}"

    def job(self) -> Job:
        """What its actor is to do."""
        assert self.facts.config is not None
        # An actor keeps a baseline warm under the hash of its source. What is warm for batches of one size is not for
        # those of another, so a comment makes each size a baseline of its own.
        comment = f"\n# In batches of {self.config.evaluation.batch_size}.\n"
        file = replace(self.file, source=self.file.source + comment.encode())
        plan = measuring_plan(self.name, Requirement(), self.secret, self.config)
        return Job(self.name, 1, file, file, file, self.facts.config, plan, self.config.limits, self.place)

    def record(self, outcome: Outcome) -> PairRecord:
        """What is known of it at the end."""
        task = Task(self.name, "", Difficulty.EASY, None, self.path, self.path, Requirement())
        sources = Sources(self.facts, self.facts, self.facts)
        pair, now = Pair(task, self.path), datetime.now(UTC)
        return make_record(pair, sources, outcome, criteria(self.config), looks(self.config), now)

    def finding(self, record: PairRecord, batches: Sequence[BatchRow]) -> CalibrationRow | CalibrationFailure:
        """What a calibration keeps of its record and its timed calls."""
        size = self.config.evaluation.batch_size
        if record.status is not Status.MEASURED:
            # The detail may come out of the model file, with characters that JSON cannot hold.
            detail = plain(record.detail, DETAIL_LENGTH)
            return CalibrationFailure(actor=self.actor, batch_size=size, status=record.status, detail=detail)
        sides = (record.baseline_seconds_per_image, record.candidate_seconds_per_image)
        return CalibrationRow.model_validate(
            {
                "actor": self.actor,
                "host": record.host,
                "device": record.device,
                "device_id": record.device_id,
                "batch_size": size,
                "seconds_per_image": fmean(seconds for seconds in sides if seconds is not None),
                "noise": stdev(log(batch.baseline_s / batch.candidate_s) for batch in paired_batches(batches)),
                "speedup": record.speedup,
                "speedup_low": record.speedup_low,
                "speedup_high": record.speedup_high,
                "gpu_busy": record.baseline_gpu_busy,
                "timed": record.batches_measured + record.batches_repeated,
                "disturbed": record.batches_marked + record.batches_repeated,
            }
        )


def calibrate(
    baseline: Path, config: Config, batch_sizes: Sequence[int], batches: int, display: Display
) -> Calibration:
    """Measures a model file against itself on every actor of the pool.

    batch_sizes: each is measured; none: GPU_SIZES or CPU_SIZES. batches: timed calls of each side, at least 2.
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

    findings: dict[str, CalibrationRow | CalibrationFailure] = {}
    versions = None
    captions = captions_of(of_size(config, max(batch_sizes or (*GPU_SIZES, *CPU_SIZES)), batches))
    with Pool(pool_spec(config, reader.models, captions), display.progress) as pool:
        sizes = sorted(set(batch_sizes or (GPU_SIZES if pool.on_gpus else CPU_SIZES)))
        everywhere = [
            replace(pair, actor=slot.name, place=slot.place) for pair in map(pair_of, sizes) for slot in pool.slots
        ]
        pairs = {pair.name: pair for pair in everywhere}
        display.start(len(pairs), 0)
        for outcome in pool.run([pair.job() for pair in pairs.values()]):
            record = pairs[outcome.pair].record(outcome)
            findings[outcome.pair] = pairs[outcome.pair].finding(record, outcome.batches)
            versions = versions or record.versions
            display.finished(record)
    ordered = [findings[name] for name in pairs]
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
    changes = {"protocol": "fixed", "batch_size": size, "prompts": size * batches}
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update=changes)})
