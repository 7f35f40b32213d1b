"""What is known of a pair at the end, as a row of a table: the record, its Arrow schema, the way there and back.

The dataclasses are the schemas: a field is a column of the same name, `| None` makes it nullable.
docs/records.md says what each column means, in which unit, and when it is null.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from types import NoneType, UnionType
from typing import TypeVar, get_args, get_type_hints

import pyarrow as pa

from actors.escaped import escaped, no_formula
from actors.messages import BatchRow, ImageRow, Layout, Mark, Sign, Status, Stopped

SCHEMA_VERSION = 5
READABLE_VERSIONS = (4, SCHEMA_VERSION)  # columns that an older one lacks read as null
VERSION_KEY = b"diffharness_schema"  # in the metadata of every table

# Columns of the user's own words and of what the machine says of itself; all other text may be a model file's.
OWN = frozenset({"prompt_id", "context", "requirement_problem", "requirement_source", "prompt"}) | {
    f"{role}_file" for role in ("baseline", "candidate", "reference")
}
OF_LINES = frozenset({"log"})

Row = TypeVar("Row")


class Verdict(StrEnum):
    """Whether a pair meets what its task asks."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


class Reason(StrEnum):
    """What kept a pair from passing."""

    CONFIG = "config"  # not the pipeline that the task asks for
    ERROR = "error"  # the pair was not measured to its end
    INTEGRITY = "integrity"  # what the candidate made is not what was asked for
    QUALITY = "quality"
    SPEEDUP = "speedup"
    LATENCY = "latency"
    REQUIREMENT = "requirement"  # the task contradicts itself


class Protocol(StrEnum):
    """How figures become a verdict."""

    STRICT = "strict"  # the whole interval must lie on one side of the limit
    FIXED = "fixed"  # point values and mean over mean, as DiffBench judges


class RareLosses(StrEnum):
    """What is assumed of losses that so few images show that none was among those scored."""

    BOUND = "bound"  # nothing: the interval reaches as far as they could
    ASSUME_NONE = "assume_none"  # that there are none


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """What the batches and images of a pair come to; all None where it was not measured."""

    speedup: float | None = None
    speedup_low: float | None = None
    speedup_high: float | None = None
    speedup_mean_over_mean: float | None = None
    quality_loss: float | None = None
    quality_loss_low: float | None = None
    quality_loss_high: float | None = None
    largest_loss: float | None = None
    baseline_clip: float | None = None
    candidate_clip: float | None = None
    ssim: float | None = None
    psnr: float | None = None
    baseline_seconds_per_image: float | None = None
    candidate_seconds_per_image: float | None = None
    candidate_seconds_per_image_low: float | None = None
    candidate_seconds_per_image_high: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demands:
    """What a task asks of its pair; see `harness.requirement.Requirement`."""

    req_speedup: float | None = None
    req_latency_s: float | None = None
    req_max_quality_loss: float | None = None
    requirement_problem: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairFacts:
    """What is known of one pair before anyone judges it. Only a pair that was measured has figures.

    Raises ValueError where the status and the figures contradict each other.
    """

    prompt_id: str
    context: str | None
    level: int | None
    difficulty: str | None

    status: Status
    detail: str
    findings: Mapping[str, str]

    confidence: float
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None
    speedup_mean_over_mean: float | None
    quality_loss: float | None
    quality_loss_low: float | None
    quality_loss_high: float | None
    largest_loss: float | None
    baseline_clip: float | None
    candidate_clip: float | None
    ssim: float | None
    psnr: float | None
    baseline_seconds_per_image: float | None
    candidate_seconds_per_image: float | None
    candidate_seconds_per_image_low: float | None
    candidate_seconds_per_image_high: float | None
    baseline_stretches_s: tuple[float, ...] | None
    rare_losses: RareLosses | None
    starts: int | None
    start_std: float | None
    start_df: int | None
    start_order_effect: float | None
    covers_restarts: bool | None
    batches_measured: int
    batches_planned: int
    batches_repeated: int
    batches_marked: int
    images_measured: int
    layout: Layout | None
    stopped: Stopped | None
    launch_bound: bool | None

    req_speedup: float | None
    req_latency_s: float | None
    req_max_quality_loss: float | None
    requirement_problem: str | None
    requirement_source: str | None

    baseline_file: str | None
    baseline_sha256: str | None
    baseline_pipeline_class: str | None
    baseline_model_id: str | None
    baseline_scheduler_class: str | None
    baseline_num_inference_steps: int | None
    baseline_methods: tuple[str, ...] | None
    baseline_load_s: float | None
    baseline_warmup_s: tuple[float, ...] | None
    baseline_steady: bool | None
    baseline_compile_s: float | None
    baseline_warm_from_before: bool | None
    baseline_denoiser_calls: float | None
    baseline_peak_memory_bytes: int | None
    baseline_energy_per_image_j: float | None
    baseline_gpu_busy: float | None
    baseline_launches_per_step: float | None
    baseline_top_kernels: Mapping[str, float] | None

    candidate_file: str | None
    candidate_sha256: str | None
    candidate_pipeline_class: str | None
    candidate_model_id: str | None
    candidate_scheduler_class: str | None
    candidate_num_inference_steps: int | None
    candidate_methods: tuple[str, ...] | None
    candidate_load_s: float | None
    candidate_warmup_s: tuple[float, ...] | None
    candidate_steady: bool | None
    candidate_compile_s: float | None
    candidate_denoiser_calls: float | None
    candidate_peak_memory_bytes: int | None
    candidate_energy_per_image_j: float | None
    candidate_gpu_busy: float | None
    candidate_launches_per_step: float | None
    candidate_top_kernels: Mapping[str, float] | None

    reference_file: str | None
    reference_sha256: str | None
    reference_pipeline_class: str | None
    reference_model_id: str | None
    reference_scheduler_class: str | None
    reference_num_inference_steps: int | None
    reference_methods: tuple[str, ...] | None

    host: str | None
    device: str | None
    device_id: str | None
    sandbox: str | None
    freezer: str | None
    scorer: str | None
    versions: Mapping[str, str] | None
    attempt: int
    started_at: datetime
    finished_at: datetime
    wall_s: float
    idle_s: float
    timed_s: float
    log: str

    def __post_init__(self) -> None:
        measured = self.status is Status.MEASURED
        for name in ("speedup", "speedup_mean_over_mean", "candidate_clip", "candidate_seconds_per_image"):
            if (getattr(self, name) is not None) != measured:
                state = "missing" if measured else "given"
                raise ValueError(f"pair {self.prompt_id}: {name} is {state} with the status {self.status}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairRecord(PairFacts):
    """The facts of a pair and what was judged of them: a row of pairs.parquet. `detail` explains the verdict."""

    protocol: Protocol
    max_quality_loss: float
    verdict: Verdict
    passed: bool
    reason: Reason | None
    achievement_rate: float | None
    strict_verdict: Verdict
    strict_reason: Reason | None
    fixed_verdict: Verdict
    fixed_reason: Reason | None


_ARROW_TYPES: dict[object, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    datetime: pa.timestamp("us", tz="UTC"),
    tuple[str, ...]: pa.list_(pa.string()),
    tuple[float, ...]: pa.list_(pa.float64()),
    Mapping[str, str]: pa.map_(pa.string(), pa.string()),
    Mapping[str, float]: pa.map_(pa.string(), pa.float64()),
    tuple[Mark, ...]: pa.list_(pa.string()),
    tuple[Sign, ...]: pa.list_(pa.string()),
}

_MEMBERS: dict[object, type[StrEnum]] = {tuple[Mark, ...]: Mark, tuple[Sign, ...]: Sign}


def _type_and_nullable(hint: object) -> tuple[object, bool]:
    """(float, True) of `float | None`."""
    if isinstance(hint, UnionType):
        return next(part for part in get_args(hint) if part is not NoneType), True
    return hint, False


def _schema(row: type, *, of_pair: bool = False) -> pa.Schema:
    """The columns of a row's dataclass; `of_pair` names the pair first, where the row itself does not."""
    columns = [pa.field("prompt_id", pa.string(), nullable=False)] if of_pair else []
    for name, hint in get_type_hints(row).items():
        kind, nullable = _type_and_nullable(hint)
        arrow_type = _ARROW_TYPES[str if isinstance(kind, type) and issubclass(kind, StrEnum) else kind]
        columns.append(pa.field(name, arrow_type, nullable=nullable))
    return pa.schema(columns, metadata={VERSION_KEY: str(SCHEMA_VERSION).encode()})


PAIRS_SCHEMA = _schema(PairRecord)
BATCHES_SCHEMA = _schema(BatchRow, of_pair=True)
IMAGES_SCHEMA = _schema(ImageRow, of_pair=True)


def pairs_table(records: Iterable[PairRecord]) -> pa.Table:
    """The records as a table of PAIRS_SCHEMA."""
    return pa.Table.from_pylist([_cells(record) for record in records], schema=PAIRS_SCHEMA)


def batches_table(prompt_id: str, rows: Iterable[BatchRow]) -> pa.Table:
    """One pair's timed calls as a table of BATCHES_SCHEMA."""
    cells = [{"prompt_id": _cell(prompt_id, "prompt_id"), **_cells(row)} for row in rows]
    return pa.Table.from_pylist(cells, schema=BATCHES_SCHEMA)


def images_table(prompt_id: str, rows: Iterable[ImageRow]) -> pa.Table:
    """One pair's images as a table of IMAGES_SCHEMA."""
    cells = [{"prompt_id": _cell(prompt_id, "prompt_id"), **_cells(row)} for row in rows]
    return pa.Table.from_pylist(cells, schema=IMAGES_SCHEMA)


def rows_of(table: pa.Table, row: type[Row]) -> list[Row]:
    """The rows of one of our tables as `PairRecord`, `BatchRow` or `ImageRow`; other columns are left out."""
    kinds = {name: _type_and_nullable(hint)[0] for name, hint in get_type_hints(row).items()}
    rows: list[dict[str, object]] = table.to_pylist()
    return [row(**{name: _value(kind, cells[name]) for name, kind in kinds.items()}) for cells in rows]


def _cells(row: PairRecord | BatchRow | ImageRow) -> dict[str, object]:
    return {field.name: _cell(getattr(row, field.name), field.name) for field in dataclasses.fields(row)}


def _cell(value: object, column: str) -> object:
    """A value as Arrow takes it.

    Model files are hostile: what of their text could steer a terminal or a spreadsheet is escaped, here once more than
    where it came in, and a number that 64 bits cannot hold is null. Of the user's own text nothing is changed but what
    UTF-8 cannot hold.
    """
    if isinstance(value, str):
        text = value if column in OWN else no_formula(escaped(value, lines=column in OF_LINES))
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return None
    if isinstance(value, tuple):
        return [_cell(item, column) for item in value]
    if isinstance(value, Mapping):
        return [(_cell(key, column), _cell(item, column)) for key, item in value.items()]
    return value


def _value(kind: object, cell: object) -> object:
    """A cell as its field's type."""
    if isinstance(cell, list):
        if kind in (Mapping[str, str], Mapping[str, float]):
            return dict(cell)
        member = _MEMBERS.get(kind)
        return tuple(cell) if member is None else tuple(member(item) for item in cell)
    if isinstance(cell, str) and isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(cell)
    return cell
