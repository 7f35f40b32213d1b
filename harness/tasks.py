"""The annotation file and the generated file: which candidate answers which task, and what the task demands.

Both are JSON lists of objects, joined on ``prompt_id``. An entry of the annotation file::

    {"prompt_id": 7, "prompt_context": "...", "difficulty": "hard", "level": 4,
     "gt_file": "reference.py", "baseline_file": "baseline.py", "req_speedup": 1.8}

and one of the generated file: ``{"prompt_id": 7, "gen_file": "candidates/7.py"}``. Paths are relative to the
folder of the JSON file, or absolute.
"""

import difflib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.requirement import Requirement, read_requirement

PROBLEMS_SHOWN = 50


class TaskError(ValueError):
    """The annotation file or the generated file cannot be used; the message has a line for each problem."""


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


def load_pairs(anno: Path, gen: Path, keys: Mapping[str, str] | None = None) -> tuple[list[Pair], list[Unpaired]]:
    """The pairs in the order of the annotation file, and what has no partner: tasks, then candidates.

    keys: our name of a key -> its name in the files, for those that differ, such as {"prompt_id": "id"}.
    Raises TaskError with all problems of both files: which file, entry and key, and how to mend it.
    """
    _check_mapping(keys or {})
    problems: list[str] = []
    annotated = _read_file(anno, ANNOTATION, keys or {}, problems)
    generated = _read_file(gen, GENERATED, keys or {}, problems)
    if problems:
        hidden = len(problems) - PROBLEMS_SHOWN
        more = [f"... and {hidden} more problems"] if hidden > 0 else []
        raise TaskError("\n".join(problems[:PROBLEMS_SHOWN] + more))
    tasks = [_task(entry) for entry in annotated]
    candidates = {entry["prompt_id"]: entry["gen_file"] for entry in generated}
    pairs = [Pair(task, candidates[task.prompt_id]) for task in tasks if task.prompt_id in candidates]
    lonely_tasks = [Unpaired(task.prompt_id, task, None) for task in tasks if task.prompt_id not in candidates]
    known = {task.prompt_id for task in tasks}
    lonely_candidates = [Unpaired(name, None, file) for name, file in candidates.items() if name not in known]
    return pairs, lonely_tasks + lonely_candidates


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


# What the value of a key must be: each takes the value and the folder that paths are relative to, and returns
# what it stands for or raises ValueError.


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
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if not exists:
        raise ValueError(f"is not there: no file {path}; paths are relative to {folder}")
    return path


@dataclass(frozen=True)
class _Key:
    check: Callable[[Any, Path], Any]
    optional: bool = False  # then null is as good as no key


ANNOTATION = {
    "prompt_id": _Key(_prompt_id),
    "prompt_context": _Key(_text),
    "difficulty": _Key(_difficulty),
    "level": _Key(_level, optional=True),
    "gt_file": _Key(_existing_file),
    "baseline_file": _Key(_existing_file),
    "req_speedup": _Key(_above_zero, optional=True),
    "req_latency_s": _Key(_above_zero, optional=True),
    "max_quality_loss": _Key(_fraction, optional=True),
}
GENERATED = {
    "prompt_id": _Key(_prompt_id),
    "gen_file": _Key(_path),
}


class _Object(dict[str, Any]):
    """A JSON object that remembers the keys it has twice, of which a dict keeps the last."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.twice = {name for name in names if names.count(name) > 1}


def _check_mapping(keys: Mapping[str, str]) -> None:
    for ours in keys:
        if ours not in ANNOTATION | GENERATED:
            raise TaskError(f"task_keys: {ours!r} is no key of a task{_hint(ours, ANNOTATION | GENERATED)}")
    for known in (ANNOTATION, GENERATED):
        names = [keys.get(ours, ours) for ours in known]
        for ours, theirs in keys.items():
            if names.count(theirs) > 1:
                raise TaskError(f"task_keys: {theirs!r} stands for {ours!r} and for another key; map that one too")


def _read_file(
    path: Path, known: Mapping[str, _Key], keys: Mapping[str, str], problems: list[str]
) -> list[dict[str, Any]]:
    """The entries of a file under our names of their keys, as far as they are right; adds to `problems`."""
    try:
        values = _read_list(path)
    except TaskError as error:
        problems.append(str(error))
        return []
    names = {keys.get(ours, ours): ours for ours in known}
    entries = []
    first: dict[str, int] = {}
    for number, value in enumerate(values, start=1):
        where = f"{path}: entry {number} of {len(values)}"
        if not isinstance(value, _Object):
            problems.append(f"{where}: is {_shown(value)}; write an object with the keys {', '.join(names)}")
            continue
        entry, wrong = _read_entry(value, known, names, path.absolute().parent)
        prompt_id = entry.get("prompt_id")
        if prompt_id is not None:
            where += f" (prompt_id {prompt_id})"
            if first.setdefault(prompt_id, number) != number:
                wrong.append(f"prompt_id {prompt_id} is also that of entry {first[prompt_id]}; an id names one entry")
        problems += [f"{where}: {problem}" for problem in wrong]
        entries.append(entry)
    return entries


def _read_entry(
    value: _Object, known: Mapping[str, _Key], names: Mapping[str, str], folder: Path
) -> tuple[dict[str, Any], list[str]]:
    """An entry under our names of its keys, and what is wrong with it."""
    problems = [f"{name!r} is no known key{_hint(name, names)}" for name in value if name not in names]
    problems += [f"{name!r} is there twice; keep one" for name in sorted(value.twice)]
    entry: dict[str, Any] = {}
    for name, ours in names.items():
        key = known[ours]
        if key.optional and value.get(name) is None:
            entry[ours] = None
        elif name not in value:
            problems.append(f"{name!r} is missing")
        else:
            try:
                entry[ours] = key.check(value[name], folder)
            except ValueError as error:
                problems.append(f"{name!r} {error}; it is {_shown(value[name])}")
    return entry, problems


def _read_list(path: Path) -> list[Any]:
    try:
        content = path.read_bytes()
        values = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_Object)
    except OSError as error:
        raise TaskError(f"{path}: cannot be read: {error.strerror}; give the path of a JSON file") from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise TaskError(f"{path}: line {line} is not UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise TaskError(f"{path}: is no JSON: {error.msg} at {where}; write one list, [{{...}}, ...]") from None
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{path}: is no JSON that can be read: {error}") from None
    if not isinstance(values, list):
        raise TaskError(f"{path}: holds {_shown(values)}; write a list of entries, [{{...}}, ...]")
    if not values:
        raise TaskError(f"{path}: has no entries")
    return values


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; the keys are {', '.join(known)}"


def _shown(value: Any) -> str:
    """The start of a value, as JSON writes it."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
