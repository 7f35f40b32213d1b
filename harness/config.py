"""The configuration of a run: YAML and `--set key=value`, validated before anything starts."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from actors.messages import Limits


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
    prompts: int = Field(16, ge=1, description="prompts, each with a seed of its own, on which both sides are timed")
    batch_size: int = Field(4, ge=1, description="prompts of one call")
    warmup_batches: int = Field(1, ge=1, description="untimed calls of each side before the timed ones, at full steps")
    max_quality_loss: float = Field(0.05, ge=0, lt=1, description="largest relative loss of the CLIP score")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of the intervals")
    seed: int | None = Field(None, ge=0, description="draws prompts and seeds; none: a fresh secret for every run")


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

    tiers: tuple[Literal["bwrap", "process"], ...] = Field(
        ("bwrap",), min_length=1, description="acceptable tiers, strongest first"
    )
    visible: tuple[Path, ...] = Field((), description="more folders that model files may read")
    environment: dict[str, str] = Field({}, description="more environment variables")


class PoolConfig(Section):
    """Where the actors run."""

    address: str = Field("auto", description="of a Ray cluster; auto: a running one, else this machine; local")
    device: Literal["auto", "gpu", "cpu"] = Field("auto", description="auto: GPUs where Ray knows of any")
    actors: int | None = Field(
        None, ge=1, description="at most this many; none: one per GPU, or one for all of the CPU"
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
    pool: PoolConfig = PoolConfig()

    @field_validator("models")
    @classmethod
    def _names_stay_inside(cls, models: dict[str, Path]) -> dict[str, Path]:
        for name in models:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"{name!r} is no name; a name is relative and has no '..'")
        return models

    @field_validator("limits")
    @classmethod
    def _limits_are_positive(cls, limits: Limits) -> Limits:
        for field in fields(limits):
            if not getattr(limits, field.name) > 0:
                raise ValueError(f"{field.name} must be positive")
        return limits


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a YAML file (None: the defaults) with `key=value` overrides on top.

    Keys of overrides are dotted (`evaluation.prompts=8`), values are YAML. Relative paths in the file count from its
    folder. Raises ConfigError.
    """
    settings: dict[str, Any] = {}
    if path is not None:
        settings = _read_yaml(path)
        _resolve_paths(settings, path.absolute().parent)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise ConfigError(f"--set {override}: write key=value, for example --set evaluation.prompts=8")
        _put(settings, key.split("."), _parse_value(override, text))
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        where = str(path) if path else "the configuration"
        raise ConfigError("\n".join(f"{where}: {line}" for line in _explain(error))) from error


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
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the configuration is no YAML: {' '.join(str(error).split())}") from error
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: the configuration is a {type(settings).__name__}; write keys and values")
    return settings


def _resolve_paths(settings: dict[str, Any], folder: Path) -> None:
    """Makes the paths of a file count from its folder."""
    models, sandbox, captions = (settings.get(key) for key in ("models", "sandbox", "captions"))
    if isinstance(models, dict):
        settings["models"] = {name: str(folder / str(value)) for name, value in models.items()}
    if isinstance(sandbox, dict) and isinstance(sandbox.get("visible"), list):
        sandbox["visible"] = [str(folder / str(value)) for value in sandbox["visible"]]
    if isinstance(captions, dict) and (folder / str(captions.get("source", ""))).is_file():
        captions["source"] = str(folder / captions["source"])


def _parse_value(override: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
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
