"""From what an actor sent back of a pair to the pair's record: raw values -> statistics -> verdict. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from actors.messages import (
    BatchRow,
    ImageRow,
    Layout,
    Machine,
    Mark,
    Measured,
    Outcome,
    Side,
    SideReport,
    Status,
)
from actors.model_config import METHODS, ModelConfig
from harness.figures import SequentialDesign, design_of, figures, paired_batches
from harness.judge import Criteria, judged
from harness.records import Figures, PairFacts, PairRecord
from harness.tasks import Pair, Task, Unpaired

LAUNCH_BOUND = 0.9  # a GPU that is busy for less of a call than this waits for the CPU that launches its kernels
Number = TypeVar("Number", int, float)


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
    design: SequentialDesign,
    finished_at: datetime,
) -> PairRecord:
    """The record of a pair that ended in `outcome`, be it before any pipeline ran. finished_at: with a time zone."""
    return judged(_pair_facts(pair, sources, outcome, design, finished_at), criteria)


def _pair_facts(
    pair: Pair | Unpaired, sources: Sources, outcome: Outcome, design: SequentialDesign, finished_at: datetime
) -> PairFacts:
    task = pair.task
    status, detail, found = outcome.status, outcome.detail, Figures()
    if status is Status.MEASURED:
        try:
            assert outcome.layout is not None
            found = figures(Measured(outcome.batches, outcome.images, outcome.layout, outcome.stretches_s), design)
        except ValueError as error:
            # Values that no sound actor sends must not end the run, nor pass for a measurement.
            status, detail = Status.INFRASTRUCTURE, f"the measured values cannot be used: {error}"
    baseline = _cost_columns(Side.BASELINE, outcome.baseline, outcome.batches)
    return PairFacts(
        prompt_id=outcome.pair,
        status=status,
        detail=detail,
        findings={finding.sign: finding.evidence for finding in outcome.findings},
        confidence=design.confidence,
        baseline_stretches_s=outcome.stretches_s or None,
        **_design_columns(design),
        batches_measured=len(paired_batches(outcome.batches)),
        batches_planned=design.planned,
        batches_repeated=_repeated(outcome),
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


def refigured(record: PairRecord, batches: Sequence[BatchRow], images: Sequence[ImageRow]) -> PairRecord:
    """The record with the figures that today's rules find in its rows; as it is if the pair was not measured.

    A pair that an older version measured in blocks has no interval any more: it timed three blocks, which cannot tell
    a slow phase of the machine from a slow side. Raises ValueError if the rows are not those of a measured pair.
    """
    if record.status is not Status.MEASURED:
        return record
    if record.layout is None:
        raise ValueError("the record does not say how the batches lie in time (layout)")
    design = design_of(record)
    if record.layout is Layout.BLOCKS and any(row.block is None for row in batches):
        ends = [field.name for field in fields(Figures) if field.name.endswith(("_low", "_high"))]
        columns: dict[str, Any] = dict.fromkeys(ends)
        return replace(record, **columns)
    found = figures(Measured(batches, images, record.layout, record.baseline_stretches_s or ()), design)
    return replace(record, **asdict(found), **_design_columns(design))


def _design_columns(design: SequentialDesign) -> dict[str, Any]:
    return {
        "rare_losses": design.rare_losses,
        "starts": design.starts,
        "start_std": design.spread and design.spread.std,
        "start_df": design.spread and design.spread.df,
        "start_order_effect": design.order_effect,
        "covers_restarts": design.spread is not None or design.starts > 1,
    }


def _repeated(outcome: Outcome) -> int:
    """How many batches others were judged in place of. In blocks none: what is not judged are earlier turns."""
    if outcome.layout is Layout.BLOCKS:
        return 0
    return len({row.batch for row in outcome.batches if not row.judged and Mark.BURN_IN not in row.marks})


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
