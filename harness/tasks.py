"""The annotation file and the generated file: which candidate answers which task, and what the task demands.

Both are JSON lists of objects, joined on ``prompt_id``. An entry of the annotation file::

    {"prompt_id": 7, "prompt_context": "...", "difficulty": "hard", "level": 4,
     "gt_file": "reference.py", "baseline_file": "baseline.py", "req_speedup": 1.8}

and one of the generated file: ``{"prompt_id": 7, "gen_file": "candidates/7.py"}``. Paths are relative to the
folder of the JSON file, or absolute.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.entries import Key, TaskError, nearest, read_entries
from harness.requirement import Requirement, read_requirement

__all__ = ["Difficulty", "Pair", "Task", "TaskError", "Unpaired", "load_pairs"]

PROBLEMS_SHOWN = 50


class Difficulty(StrEnum):
    """How hard a task is; hard tasks get an achievement rate."""

    EASY = "easy"
    MEDIUM = "medium"
    HARD = "hard"


@dataclass(frozen=True)
class Task:
    """One entry of the annotation file. level is 1 to 5; both files exist."""

    prompt_id: str
    context: str
    difficulty: Difficulty
    level: int | None
    reference_file: Path
    baseline_file: Path
    requirement: Requirement


@dataclass(frozen=True)
class Pair:
    """A task and the candidate generated for it, whose file need not exist: the run says so in its record."""

    task: Task
    candidate_file: Path


@dataclass(frozen=True)
class Unpaired:
    """A task without a candidate, or a candidate without a task: exactly one of the two is None."""

    prompt_id: str
    task: Task | None
    candidate_file: Path | None


def load_pairs(anno: Path, gen: Path, keys: Mapping[str, str] | None = None) -> list[Pair | Unpaired]:
    """The tasks in the order of the annotation file, each with its candidate; then the candidates without a task.

    keys: our name of a key -> its name in the files, for those that differ, such as {"prompt_id": "id"}.
    Raises TaskError with all problems of both files: which file, entry and key, and how to mend it.
    """
    annotated, problems = read_entries(anno, ANNOTATION, _names(ANNOTATION, keys or {}))
    generated, more_problems = read_entries(gen, GENERATED, _names(GENERATED, keys or {}))
    problems += more_problems
    if problems:
        hidden = len(problems) - PROBLEMS_SHOWN
        rest = [f"... and {hidden} more problems"] if hidden > 0 else []
        raise TaskError("\n".join(problems[:PROBLEMS_SHOWN] + rest))
    tasks = [_task(entry) for entry in annotated]
    candidates = {entry["prompt_id"]: entry["gen_file"] for entry in generated}
    known = {task.prompt_id for task in tasks}
    return [
        *(_with_candidate(task, candidates.get(task.prompt_id)) for task in tasks),
        *(Unpaired(name, None, file) for name, file in candidates.items() if name not in known),
    ]


def _with_candidate(task: Task, candidate_file: Path | None) -> Pair | Unpaired:
    return Unpaired(task.prompt_id, task, None) if candidate_file is None else Pair(task, candidate_file)


def _names(known: Mapping[str, Key], keys: Mapping[str, str]) -> dict[str, str]:
    """The name of a key in the file -> ours, for the known keys of one of the files."""
    for ours in keys:
        if ours not in ANNOTATION | GENERATED:
            raise TaskError(f"task_keys: {ours!r} is no key of a task{nearest(ours, ANNOTATION | GENERATED)}")
    names = {keys.get(ours, ours): ours for ours in known}
    for ours in known:
        if names[keys.get(ours, ours)] != ours:
            other = names[keys.get(ours, ours)]
            raise TaskError(f"task_keys: {ours!r} and {other!r} are both {keys.get(ours, ours)!r}; give each its own")
    return names


def _task(entry: Mapping[str, Any]) -> Task:
    return Task(
        prompt_id=entry["prompt_id"],
        context=entry["prompt_context"],
        difficulty=entry["difficulty"],
        level=entry["level"],
        reference_file=entry["gt_file"],
        baseline_file=entry["baseline_file"],
        requirement=read_requirement(
            entry["prompt_context"],
            speedup=entry["req_speedup"],
            latency_s=entry["req_latency_s"],
            max_quality_loss=entry["max_quality_loss"],
        ),
    )


# What the value of a key must be.


def _prompt_id(value: Any, folder: Path) -> str:
    name = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise ValueError("must be a whole number or a name")
    return name.strip()


def _text(value: Any, folder: Path) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text in quotes")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be text; half of a \\ud800 pair is none") from None
    return value


def _difficulty(value: Any, folder: Path) -> Difficulty:
    if value not in list(Difficulty):
        raise ValueError(f"must be one of {', '.join(Difficulty)}")
    return Difficulty(value)


def _level(value: Any, folder: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 5:
        raise ValueError("must be a whole number from 1 to 5")
    return value


def _number(value: Any) -> float:
    """NaN for what is no finite number, so that no comparison with it holds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value) if math.isfinite(value) else math.nan
    except OverflowError:
        return math.nan


def _above_zero(value: Any, folder: Path) -> float:
    number = _number(value)
    if not number > 0:
        raise ValueError("must be a number above 0")
    return number


def _fraction(value: Any, folder: Path) -> float:
    number = _number(value)
    if not 0 <= number < 1:
        raise ValueError("must be a fraction, from 0 to below 1: 0.05 allows a loss of 5%")
    return number


def _path(value: Any, folder: Path) -> Path:
    name = _text(value, folder)
    if not name.strip() or "\0" in name:
        raise ValueError("must be the path of a file")
    return folder / name


def _existing_file(value: Any, folder: Path) -> Path:
    path = _path(value, folder)
    try:
        exists = path.is_file()
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from None
    if not exists:
        raise ValueError(f"there is no file {path}; paths are relative to {folder}")
    return path


ANNOTATION = {
    "prompt_id": Key(_prompt_id),
    "prompt_context": Key(_text),
    "difficulty": Key(_difficulty),
    "level": Key(_level, optional=True),
    "gt_file": Key(_existing_file),
    "baseline_file": Key(_existing_file),
    "req_speedup": Key(_above_zero, optional=True),
    "req_latency_s": Key(_above_zero, optional=True),
    "max_quality_loss": Key(_fraction, optional=True),
}
GENERATED = {
    "prompt_id": Key(_prompt_id),
    "gen_file": Key(_path),
}
