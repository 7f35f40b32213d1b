"""From what an actor sent back of a pair to the pair's record: raw values -> statistics -> verdict. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from actors.messages import BatchRow, ImageRow, Layout, Machine, Outcome, Side, SideReport, Status
from actors.model_config import METHODS, ModelConfig
from harness import stats
from harness.judge import Criteria, judged
from harness.records import Figures, PairFacts, PairRecord
from harness.tasks import Pair, Task, Unpaired

LAUNCH_BOUND = 0.9  # a GPU that is busy for less of a call than this waits for the CPU that launches its kernels
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Looks:
    """How often the intervals of a pair are looked at, at most, and what they hold together."""

    confidence: float  # such as 0.95
    planned: int  # batches

    def level(self, batches: int) -> float | None:
        """The confidence of a single interval after so many batches; None while it is too early for one."""
        return stats.confidence_at_look(batches, self.planned, self.confidence)


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
    looks: Looks,
    finished_at: datetime,
) -> PairRecord:
    """The record of a pair that ended in `outcome`, be it before any pipeline ran. finished_at: with a time zone."""
    return judged(_pair_facts(pair, sources, outcome, looks, finished_at), criteria)


def _pair_facts(
    pair: Pair | Unpaired, sources: Sources, outcome: Outcome, looks: Looks, finished_at: datetime
) -> PairFacts:
    task = pair.task
    status, detail, found = outcome.status, outcome.detail, Figures()
    if status is Status.MEASURED:
        try:
            found = figures(outcome.batches, outcome.images, looks)
        except ValueError as error:
            # Values that no sound actor sends must not end the run, nor pass for a measurement.
            status, detail = Status.INFRASTRUCTURE, f"the measured values cannot be used: {error}"
    baseline = _cost_columns(Side.BASELINE, outcome.baseline, outcome.batches)
    in_blocks = outcome.layout is Layout.BLOCKS
    return PairFacts(
        prompt_id=outcome.pair,
        status=status,
        detail=detail,
        findings={finding.sign: finding.evidence for finding in outcome.findings},
        confidence=looks.confidence,
        batches_measured=len(paired_batches(outcome.batches)),
        batches_planned=looks.planned,
        # In blocks the calls that are not judged are those in turns that memory did not allow.
        batches_repeated=0 if in_blocks else len({row.batch for row in outcome.batches if not row.judged}),
        batches_marked=len({row.batch for row in outcome.batches if row.judged and row.marks}),
        images_measured=len(outcome.images),
        layout=outcome.layout,
        stopped=outcome.stopped,
        attempt=outcome.attempt,
        started_at=finished_at - timedelta(seconds=outcome.wall_s),
        finished_at=finished_at,
        wall_s=outcome.wall_s,
        idle_s=outcome.idle_s,
        timed_s=sum(row.wall_s for row in outcome.batches if row.judged),
        log=outcome.log,
        **asdict(found),
        **_task_columns(task),
        **_file_columns("baseline", task.baseline_file if task else None, sources.baseline, outcome.baseline),
        **_file_columns("candidate", pair.candidate_file, sources.candidate, outcome.candidate),
        **_file_columns("reference", task.reference_file if task else None, sources.reference, None),
        **baseline,
        **_cost_columns(Side.CANDIDATE, outcome.candidate, outcome.batches),
        launch_bound=None if baseline["baseline_gpu_busy"] is None else baseline["baseline_gpu_busy"] < LAUNCH_BOUND,
        baseline_warm_from_before=outcome.baseline.warm_from_before if outcome.baseline else None,
        **_machine_columns(outcome.machine),
    )


def figures(batches: Sequence[BatchRow], images: Sequence[ImageRow], looks: Looks) -> Figures:
    """The figures of the judged batches so far. Raises ValueError where the raw values are not those of a pair."""
    paired = paired_batches(batches)
    _require_sound(paired, batches)
    baseline_s = [batch.baseline_s for batch in paired]
    candidate_s = [batch.candidate_s for batch in paired]
    counts = [batch.images for batch in paired]
    level = looks.level(len(paired))
    drift = _drift(paired)
    ratio = stats.widened(stats.speedup(baseline_s, candidate_s, level), abs(drift or 0.0) / 2)
    baseline_clip = [image.baseline_clip for image in images]
    candidate_clip = [image.candidate_clip for image in images]
    loss = stats.relative_loss(baseline_clip, candidate_clip, level)
    seconds = stats.seconds_per_image(candidate_s, counts, level)
    return Figures(
        speedup=ratio.value,
        speedup_low=ratio.low,
        speedup_high=ratio.high,
        speedup_mean_over_mean=stats.mean_over_mean(baseline_s, candidate_s),
        drift=drift,
        quality_loss=loss.value if loss else None,
        quality_loss_low=loss.low if loss else None,
        quality_loss_high=loss.high if loss else None,
        baseline_clip=sum(baseline_clip) / len(images),
        candidate_clip=sum(candidate_clip) / len(images),
        ssim=sum(image.ssim for image in images) / len(images),
        psnr=median(image.psnr for image in images),
        baseline_seconds_per_image=stats.seconds_per_image(baseline_s, counts, level).value,
        candidate_seconds_per_image=seconds.value,
        candidate_seconds_per_image_low=seconds.low,
        candidate_seconds_per_image_high=seconds.high,
    )


def _require_sound(paired: Sequence[PairedBatch], batches: Sequence[BatchRow]) -> None:
    calls = {len(batch.baseline_calls_s) for batch in paired}
    if len(calls) > 1 or sum(len(batch.baseline_calls_s) + 1 for batch in paired) != sum(row.judged for row in batches):
        raise ValueError("a batch was timed more often than the others, or on one side alone")


@dataclass(frozen=True)
class PairedBatch:
    """One batch that was timed on both sides. `baseline_calls_s`: one call, or one in each block of the baseline."""

    baseline_calls_s: tuple[float, ...]
    candidate_s: float
    images: int

    @property
    def baseline_s(self) -> float:
        """Geometric mean of the baseline's calls."""
        return math.exp(sum(map(math.log, self.baseline_calls_s)) / len(self.baseline_calls_s))


def paired_batches(batches: Sequence[BatchRow]) -> list[PairedBatch]:
    """Every judged batch that was timed on both sides, in their order."""
    seconds: dict[int, dict[Side, list[float]]] = {}
    counts: dict[int, int] = {}
    for row in batches:
        if row.judged:
            seconds.setdefault(row.batch, {side: [] for side in Side})[row.side].append(row.wall_s)
            counts[row.batch] = row.images
    return [
        PairedBatch(tuple(sides[Side.BASELINE]), sides[Side.CANDIDATE][0], counts[batch])
        for batch, sides in seconds.items()
        if sides[Side.BASELINE] and sides[Side.CANDIDATE]
    ]


def _drift(paired: Sequence[PairedBatch]) -> float | None:
    """By which share the baseline's second block took longer than its first, as a logarithm; None without blocks."""
    if not paired or any(len(batch.baseline_calls_s) < 2 for batch in paired):
        return None
    logs = [math.log(batch.baseline_calls_s[1] / batch.baseline_calls_s[0]) for batch in paired]
    return sum(logs) / len(logs)


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
    rows = [row for row in batches if row.side is side and row.judged]
    calls = _known(row.denoiser_calls for row in rows)
    energy = _known(row.energy_j for row in rows)
    images = sum(row.images for row in rows)
    profile = report and report.profile
    mean_calls = sum(calls) / len(calls) if calls else None
    return {
        f"{side}_load_s": report and report.load_s,
        f"{side}_warmup_s": report and report.warmup_s,
        f"{side}_steady": report and report.steady,
        f"{side}_compile_s": _compile_s(report),
        f"{side}_denoiser_calls": mean_calls,
        f"{side}_peak_memory_bytes": max(_known(row.peak_memory_bytes for row in rows), default=None),
        f"{side}_energy_per_image_j": sum(energy) / images if rows and len(energy) == len(rows) else None,
        # Profiled calls take longer, the kernels in them do not: they are held against the unprofiled calls.
        f"{side}_gpu_busy": min(1.0, profile.gpu_s / median(row.wall_s for row in rows)) if profile and rows else None,
        f"{side}_launches_per_step": profile.launches / mean_calls if profile and mean_calls else None,
        f"{side}_top_kernels": profile and dict(profile.top_kernels),
    }


def _known(values: Iterable[Number | None]) -> list[Number]:
    return [value for value in values if value is not None]


def _compile_s(report: SideReport | None) -> float | None:
    """What the warm-up calls of a compiling pipeline took beyond its last one; None for others."""
    if report is None or not report.warmup_s or "torch_compile" not in report.config.methods:
        return None
    return sum(max(0.0, seconds - report.warmup_s[-1]) for seconds in report.warmup_s)


def _machine_columns(machine: Machine | None) -> dict[str, Any]:
    return {
        "host": machine and machine.host,
        "device": machine and machine.device,
        "device_id": machine and machine.device_id,
        "sandbox": machine and machine.sandbox,
        "freezer": machine and machine.freezer,
        "scorer": machine and machine.scorer,
        "versions": machine and machine.versions,
    }
