"""From what an actor sent back of a pair to the pair's record: raw values -> statistics -> verdict. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from actors.messages import BatchRow, ImageRow, Machine, Outcome, Side, SideReport, Status
from actors.model_config import METHODS, ModelConfig
from harness import stats
from harness.judge import Criteria, judged
from harness.records import PairFacts, PairRecord
from harness.tasks import Pair, Task, Unpaired


@dataclass(frozen=True)
class SourceFacts:
    """What is known of a model file before it runs; None where it could not be read."""

    sha256: str | None = None
    config: ModelConfig | None = None


@dataclass(frozen=True)
class Sources:
    """The model files of a pair, as far as there are any."""

    baseline: SourceFacts = SourceFacts()
    candidate: SourceFacts = SourceFacts()
    reference: SourceFacts = SourceFacts()


def make_record(
    pair: Pair | Unpaired,
    sources: Sources,
    outcome: Outcome,
    criteria: Criteria,
    confidence: float,
    finished_at: datetime,
) -> PairRecord:
    """The record of a pair that ended in `outcome`, be it before any pipeline ran.

    confidence: of the intervals, such as 0.95. finished_at: with a time zone.
    """
    return judged(_pair_facts(pair, sources, outcome, confidence, finished_at), criteria)


def _pair_facts(
    pair: Pair | Unpaired, sources: Sources, outcome: Outcome, confidence: float, finished_at: datetime
) -> PairFacts:
    task = pair.task
    status, detail, figures = outcome.status, outcome.detail, _NO_FIGURES
    if status is Status.MEASURED:
        try:
            figures = _figures(outcome.batches, outcome.images, confidence)
        except ValueError as error:
            # Values that no sound actor sends must not end the run, nor pass for a measurement.
            status, detail = Status.INFRASTRUCTURE, f"the measured values cannot be used: {error}"
    return PairFacts(
        prompt_id=outcome.pair,
        status=status,
        detail=detail,
        confidence=confidence,
        batches_measured=len(_paired(outcome.batches)),
        images_measured=len(outcome.images),
        attempt=outcome.attempt,
        started_at=finished_at - timedelta(seconds=outcome.wall_s),
        finished_at=finished_at,
        wall_s=outcome.wall_s,
        log=outcome.log,
        **figures,
        **_task_columns(task),
        **_file_columns("baseline", task.baseline_file if task else None, sources.baseline, outcome.baseline),
        **_file_columns("candidate", pair.candidate_file, sources.candidate, outcome.candidate),
        **_file_columns("reference", task.reference_file if task else None, sources.reference, None),
        **_cost_columns(Side.BASELINE, outcome.baseline, outcome.batches),
        **_cost_columns(Side.CANDIDATE, outcome.candidate, outcome.batches),
        baseline_warm_from_before=outcome.baseline.warm_from_before if outcome.baseline else None,
        **_machine_columns(outcome.machine),
    )


_NO_FIGURES: dict[str, Any] = {
    "speedup": None,
    "speedup_low": None,
    "speedup_high": None,
    "speedup_mean_over_mean": None,
    "quality_loss": None,
    "quality_loss_low": None,
    "quality_loss_high": None,
    "baseline_clip": None,
    "candidate_clip": None,
    "baseline_seconds_per_image": None,
    "candidate_seconds_per_image": None,
    "candidate_seconds_per_image_low": None,
    "candidate_seconds_per_image_high": None,
}


def _figures(batches: Sequence[BatchRow], images: Sequence[ImageRow], confidence: float) -> dict[str, Any]:
    """The figures of a measured pair. Raises ValueError where its raw values are not those of one."""
    paired = _paired(batches)
    if len({(row.batch, row.side) for row in batches}) != len(batches):
        raise ValueError("a batch was timed twice on one side")
    baseline_s = [baseline.wall_s for baseline, _ in paired]
    candidate_s = [candidate.wall_s for _, candidate in paired]
    counts = [candidate.images for _, candidate in paired]
    baseline_clip = [image.baseline_clip for image in images]
    candidate_clip = [image.candidate_clip for image in images]
    ratio = stats.speedup(baseline_s, candidate_s, confidence)
    loss = stats.relative_loss(baseline_clip, candidate_clip, confidence)
    seconds = stats.seconds_per_image(candidate_s, counts, confidence)
    return {
        "speedup": ratio.value,
        "speedup_low": ratio.low,
        "speedup_high": ratio.high,
        "speedup_mean_over_mean": stats.mean_over_mean(baseline_s, candidate_s),
        "quality_loss": loss.value if loss else None,
        "quality_loss_low": loss.low if loss else None,
        "quality_loss_high": loss.high if loss else None,
        "baseline_clip": sum(baseline_clip) / len(images),
        "candidate_clip": sum(candidate_clip) / len(images),
        "baseline_seconds_per_image": stats.seconds_per_image(baseline_s, counts, confidence).value,
        "candidate_seconds_per_image": seconds.value,
        "candidate_seconds_per_image_low": seconds.low,
        "candidate_seconds_per_image_high": seconds.high,
    }


def _paired(batches: Sequence[BatchRow]) -> list[tuple[BatchRow, BatchRow]]:
    """(baseline, candidate) of every batch that was timed on both sides, in their order."""
    baseline = {row.batch: row for row in batches if row.side is Side.BASELINE}
    candidate = {row.batch: row for row in batches if row.side is Side.CANDIDATE}
    return [(baseline[batch], candidate[batch]) for batch in sorted(baseline.keys() & candidate.keys())]


def _task_columns(task: Task | None) -> dict[str, Any]:
    requirement = task and task.requirement
    return {
        "context": task and task.context,
        "level": task and task.level,
        "difficulty": task and task.difficulty,
        "req_speedup": requirement and requirement.speedup,
        "req_latency_s": requirement and requirement.latency_s,
        "req_max_quality_loss": requirement and requirement.max_quality_loss,
        "requirement_problem": requirement and requirement.problem,
        "requirement_source": requirement and requirement.source,
    }


def _file_columns(role: str, path: Path | None, source: SourceFacts, report: SideReport | None) -> dict[str, Any]:
    """Which file it is and what it makes: as the live pipeline says, and the source where that is silent."""
    stated = [source.config] if source.config else []
    configs = [report.config, *stated] if report else stated

    def first(fact: str) -> Any:
        return next((value for config in configs if (value := getattr(config, fact)) is not None), None)

    # A hostile child says what it likes; only what we know by name is a method.
    methods = {method for config in configs for method in config.methods if method in METHODS}
    return {
        f"{role}_file": None if path is None else str(path),
        f"{role}_sha256": source.sha256,
        f"{role}_pipeline_class": first("pipeline_class"),
        f"{role}_model_id": first("model_id"),
        f"{role}_scheduler_class": first("scheduler_class"),
        f"{role}_num_inference_steps": first("num_inference_steps"),
        f"{role}_methods": tuple(sorted(methods)) if configs else None,
    }


def _cost_columns(side: Side, report: SideReport | None, batches: Sequence[BatchRow]) -> dict[str, Any]:
    rows = [row for row in batches if row.side is side]
    calls = [row.denoiser_calls for row in rows if row.denoiser_calls is not None]
    peaks = [row.peak_memory_bytes for row in rows if row.peak_memory_bytes is not None]
    return {
        f"{side}_load_s": report and report.load_s,
        f"{side}_warmup_s": report and report.warmup_s,
        f"{side}_denoiser_calls": sum(calls) / len(calls) if calls else None,
        f"{side}_peak_memory_bytes": max(peaks, default=None),
    }


def _machine_columns(machine: Machine | None) -> dict[str, Any]:
    return {
        "host": machine and machine.host,
        "device": machine and machine.device,
        "device_id": machine and machine.device_id,
        "sandbox": machine and machine.sandbox,
        "scorer": machine and machine.scorer,
        "versions": machine and machine.versions,
    }
