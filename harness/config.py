"""The configuration of a run: YAML and `--set key=value`, validated before anything starts."""

from __future__ import annotations

import difflib
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from actors.messages import Limits, SandboxSpec, Sign
from harness.embedded import EMBEDDED_PIPELINES

# The parts of the configuration whose keys are free, and may have dots in them.
FREE = ("models", "call", "task_keys", "sandbox.environment")
LOCAL_MODEL = "local-dir:"  # how open_clip marks a folder
LEAST_MEMORY = 2**30  # a child that has imported torch and diffusers uses 0.5 GiB of the host, with CUDA twice that
LONGEST_S = 2e6  # the system call that waits for a child counts milliseconds in 31 bits


class ConfigError(ValueError):
    """The configuration cannot be used; the message names the file, the key and the mend."""


class Section(BaseModel):
    """A part of the configuration: no unknown keys, and nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Evaluation(Section):
    """How much is measured, and what passes."""

    protocol: Literal["strict", "fixed"] = Field(
        "strict",
        description="strict: the interval must clear the requirement; fixed: the means decide, as in DiffBench",
    )
    prompts: int = Field(128, ge=1, description="prompts, each with a seed of its own, that are timed, at most")
    batch_size: int = Field(4, ge=1, validate_default=True, description="prompts of one call; divides `prompts`")
    half_width: float = Field(
        0.02, ge=0, lt=1, description="strict: no more batches where the speedup is known to within this share"
    )
    restarts: int = Field(
        1, ge=1, le=64, validate_default=True, description="starts of both processes, which share out the batches"
    )
    rare_losses: Literal["bound", "assume_none"] = Field(
        "bound",
        description="bound: a loss that so few images could have missed counts; assume_none: it is taken for absent",
    )
    max_repeats: int = Field(4, ge=0, description="batches that are measured anew because the machine disturbed them")
    warmup_batches: int = Field(2, ge=1, description="untimed calls of each side before the timed ones, at least")
    max_warmup_batches: int = Field(
        6, ge=1, validate_default=True, description="at most, where two calls in a row do not agree before"
    )
    warmup_agreement: float | None = Field(
        None, gt=0, lt=1, description="relative difference of two calls that agree; none: half of `half_width`"
    )
    burn_in: int = Field(
        3, ge=0, description="batches in turns before the judged ones: a warm process may still become faster"
    )
    profile: bool = Field(True, description="one more call of each side under torch's profiler, on a GPU")
    max_quality_loss: float = Field(0.05, ge=0, lt=1, description="largest relative loss of the CLIP score")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of the intervals")
    seed: int | None = Field(None, ge=0, description="draws prompts and seeds; none: a fresh secret for every run")

    @property
    def agreement(self) -> float:
        """The relative difference of two warm-up calls that agree."""
        return self.half_width / 2 if self.warmup_agreement is None else self.warmup_agreement

    @field_validator("batch_size")
    @classmethod
    def _batches_are_of_one_size(cls, batch_size: int, info: ValidationInfo) -> int:
        prompts = info.data.get("prompts", batch_size)
        if prompts % batch_size:
            raise ValueError(f"{prompts} prompts (evaluation.prompts) make no whole batches of this size")
        return batch_size

    @field_validator("restarts")
    @classmethod
    def _every_start_has_a_batch(cls, restarts: int, info: ValidationInfo) -> int:
        prompts, size = info.data.get("prompts"), info.data.get("batch_size")
        if prompts and size and prompts // size < restarts:
            raise ValueError(f"{prompts // size} batches (evaluation.prompts, batch_size) are not one for each start")
        return restarts

    @field_validator("max_warmup_batches")
    @classmethod
    def _most_is_not_below_least(cls, most: int, info: ValidationInfo) -> int:
        least = info.data.get("warmup_batches", most)
        if most < least:
            raise ValueError(f"below evaluation.warmup_batches, which is {least}")
        return most


class Captions(Section):
    """Where the prompts come from."""

    source: str = Field(
        "diffharness/tiny-shapes-captions",
        description="a Parquet, JSON, CSV or text file, the embedded captions, or a data set's name for `datasets`",
    )
    column: str = Field("captions", description="the column of the prompts: text, or a list of texts")
    split: str = Field("validation", description="of a data set")


class ScorerConfig(Section):
    """Which open_clip model scores the images."""

    model: str = Field(
        "diffharness/tiny-shapes-clip",
        description="an open_clip name, local-dir:/a/folder, or the embedded model",
    )
    pretrained: str | None = Field(None, description="a tag such as openai, or a checkpoint file")


class Sandbox(Section):
    """What a child may see and use."""

    tiers: tuple[Literal["bwrap", "landlock", "process"], ...] = Field(
        ("bwrap",), min_length=1, description="acceptable tiers, strongest first"
    )
    visible: tuple[Path, ...] = Field((), description="more folders that model files may read")
    environment: dict[str, str] = Field({}, description="more environment variables")
    preimports: tuple[Annotated[str, Field(pattern=r"^\w+(\.\w+)*$")], ...] = Field(
        SandboxSpec.preimports, description="what a child imports before it knows its file"
    )


class Integrity(Section):
    """What ends a pair as rejected; docs/threat-model.md tells of every sign."""

    reject: tuple[Sign, ...] = Field((), description="signs that reject, beyond those that always do")


class PoolConfig(Section):
    """Where the actors run."""

    address: str = Field("auto", description="of a Ray cluster; auto: a running one, else this machine; local")
    device: Literal["auto", "gpu", "cpu"] = Field("auto", description="auto: GPUs where Ray knows of any")
    actors: int | None = Field(
        None, ge=1, description="at most this many; none: one per GPU, or one for all of the CPU"
    )
    calibration: Path | None = Field(
        None,
        description="what `diffharness calibrate` wrote: intervals then hold for other starts of the same files, and a "
        "run names the devices that are apart",
    )
    tolerance: float = Field(
        0.03, ge=0, description="devices are apart where one takes this share longer per image than another"
    )


class Config(Section):
    """The whole configuration."""

    evaluation: Evaluation = Evaluation()
    captions: Captions = Captions()
    scorer: ScorerConfig = ScorerConfig()
    models: dict[str, Path] = Field({}, description="names that model files may ask for -> folders")
    call: dict[str, Any] = Field({}, description="keyword arguments of every call, such as guidance_scale")
    task_keys: dict[str, str] = Field({}, description="our key -> the key in the annotation and generated files")
    sandbox: Sandbox = Sandbox()
    limits: Limits = Limits()
    integrity: Integrity = Integrity()
    pool: PoolConfig = PoolConfig()

    @field_validator("models")
    @classmethod
    def _names_stay_inside(cls, models: dict[str, Path]) -> dict[str, Path]:
        for name in models:
            if Path(name).is_absolute() or Path(name) == Path() or ".." in Path(name).parts:
                raise ValueError(f"{name!r} is no name; a name is relative, not '.', and has no '..'")
            for other in (*models, *EMBEDDED_PIPELINES):
                if other != name and Path(other).is_relative_to(name):
                    raise ValueError(f"{name!r} is a parent of {other!r}; a child sees each in a folder of its own")
        return models

    @field_validator("call")
    @classmethod
    def _call_travels_as_json(cls, call: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(call, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"must be what JSON can hold: {error}") from None
        return call

    @field_validator("limits", mode="before")
    @classmethod
    def _whole_numbers_as_people_write_them(cls, limits: Any) -> Any:
        if not isinstance(limits, dict):
            return limits
        # YAML takes 8e9 for a text: it wants 8.0e+9.
        return {key: _whole(value) if isinstance(value, str) else value for key, value in limits.items()}

    @field_validator("limits")
    @classmethod
    def _limits_are_finite(cls, limits: Limits) -> Limits:
        for field in fields(limits):
            value = getattr(limits, field.name)
            if value is None:
                continue
            if not 0 < value < math.inf:
                raise ValueError(f"{field.name} must be positive and finite")
            if field.name.endswith("_s") and value >= LONGEST_S:
                raise ValueError(f"{field.name} must be below {LONGEST_S:,.0f} s, which is 23 days")
        if limits.memory_bytes is not None and limits.memory_bytes < LEAST_MEMORY:
            raise ValueError(
                f"memory_bytes is {limits.memory_bytes:,}; the libraries of a pipeline alone need {LEAST_MEMORY:,}. "
                "Leave it out, and each child gets a third of its actor's share"
            )
        return limits


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a YAML file (None: the defaults) with `key=value` overrides on top.

    Keys of overrides are dotted (`evaluation.prompts=8`), values are YAML. Relative paths in the file count from its
    folder, those of overrides from the working folder. Raises ConfigError.
    """
    settings: dict[str, Any] = {}
    if path is not None:
        settings = _read_yaml(path)
        _resolve_paths(settings, path.absolute().parent)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise ConfigError(f"--set {override}: write key=value, for example --set evaluation.prompts=8")
        _put(settings, _split(key), _parse_value(override, text))
    _resolve_paths(settings, Path.cwd())
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        where = str(path) if path else "the configuration"
        raise ConfigError("\n".join(f"{where}: {line}" for line in _explain(error))) from error


def require_limits(
    *, req_speedup: float | None = None, req_latency_s: float | None = None, max_quality_loss: float | None = None
) -> None:
    """Raises ConfigError for limits, given outside of a configuration and a task, that nothing can be judged by."""
    if max_quality_loss is not None and not 0 <= max_quality_loss < 1:
        raise ConfigError(f"max_quality_loss is {max_quality_loss:g}; it is a fraction, from 0 to below 1: 0.05 is 5%")
    for name, value in {"req_speedup": req_speedup, "req_latency_s": req_latency_s}.items():
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"{name} is {value:g}; it must be finite and above 0")


def known_keys(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    """Every dotted key of the configuration."""
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from known_keys(inner, f"{prefix}{name}.")
        elif isinstance(inner, type) and is_dataclass(inner):
            yield from (f"{prefix}{name}.{part.name}" for part in fields(inner))
        else:
            yield prefix + name


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: the configuration cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # no UTF-8, a 32nd of May, thousands of brackets
        raise ConfigError(f"{path}: the configuration is no YAML: {' '.join(str(error).split())}") from error
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: the configuration is a {type(settings).__name__}; write keys and values")
    return settings


def _resolve_paths(settings: dict[str, Any], folder: Path) -> None:
    """Makes paths count from `folder`, with `~` expanded; what may be a name, too, stays one unless a file has it."""
    parts = ("models", "sandbox", "captions", "scorer", "pool")
    models, sandbox, captions, scorer, pool = (settings.get(key) for key in parts)
    if isinstance(models, dict):
        settings["models"] = {name: _path(value, folder) for name, value in models.items()}
    if isinstance(sandbox, dict) and isinstance(sandbox.get("visible"), list):
        sandbox["visible"] = [_path(value, folder) for value in sandbox["visible"]]
    if isinstance(captions, dict) and "source" in captions:
        captions["source"] = _path_or_name(captions["source"], folder)
    if isinstance(scorer, dict) and "pretrained" in scorer:
        scorer["pretrained"] = _path_or_name(scorer["pretrained"], folder)
    if isinstance(scorer, dict) and str(scorer.get("model")).startswith(LOCAL_MODEL):
        scorer["model"] = LOCAL_MODEL + _path(scorer["model"].removeprefix(LOCAL_MODEL), folder)
    if isinstance(pool, dict) and "calibration" in pool:
        pool["calibration"] = _path(pool["calibration"], folder)


def _path(value: Any, folder: Path) -> Any:
    """The path that a text is; what is no text is left to the validation."""
    return str(folder / os.path.expanduser(value)) if isinstance(value, str) else value  # noqa: PTH111  (it never raises)


def _path_or_name(value: Any, folder: Path) -> Any:
    """The file that a text names, else the text: the name of something that a library knows."""
    path = _path(value, folder)
    return path if isinstance(value, str) and (value.startswith("~") or os.path.isfile(path)) else value  # noqa: PTH113


def _whole(text: str) -> int | str:
    """The whole number that a text such as 8e9 is; the text where it is none."""
    try:
        value = float(text)
    except ValueError:
        return text
    return int(value) if value.is_integer() else text


def _split(key: str) -> list[str]:
    """The keys of a dotted one."""
    for free in FREE:
        if key.startswith(f"{free}."):
            return [*free.split("."), key.removeprefix(f"{free}.")]
    return key.split(".")


def _parse_value(override: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"--set {override}: the value is no YAML") from error


def _put(settings: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        inner = settings.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {'.'.join(keys)}: {key} is a value and has no keys of its own")
        settings = inner
    settings[keys[-1]] = value


def _explain(error: ValidationError) -> Iterator[str]:
    """One line for each problem, with the nearest known key for an unknown one."""
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            keys = list(known_keys())
            near = difflib.get_close_matches(key, [*keys, *Config.model_fields], n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else f"; known keys: {', '.join(keys)}"
            yield f"unknown key {key}{hint}"
        else:
            yield f"{key}: {problem['msg']} (given: {problem['input']!r})"
