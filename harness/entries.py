"""Reading a JSON list of objects whose keys are known, with every problem of the file said at once."""

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class TaskError(ValueError):
    """The annotation file or the generated file cannot be used; the message has a line for each problem."""


@dataclass(frozen=True)
class Key:
    """What the value of a key must be.

    check: takes the value and the folder that paths are relative to; returns what the value stands for, or raises
    ValueError with what it must be. optional: the key may be missing or null.
    """

    check: Callable[[Any, Path], Any]
    optional: bool = False


class _Object(dict[str, Any]):
    """A JSON object that remembers the keys it has twice, of which a dict keeps the last."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.twice = sorted({name for name in names if names.count(name) > 1})


def read_entries(
    path: Path, known: Mapping[str, Key], names: Mapping[str, str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The entries of a JSON list under our names of their keys, and all that is wrong with them.

    names: the file's name of a key -> our name, for all known keys. The key prompt_id names an entry: no two share it.
    Optional keys that are missing come as None. Only where nothing is wrong are the entries complete.
    """
    try:
        values = _read_list(path)
    except TaskError as error:
        return [], [str(error)]
    entries = []
    problems = []
    number_of: dict[str, int] = {}
    for number, value in enumerate(values, start=1):
        entry, wrong = _read_entry(value, known, names, path.absolute().parent)
        where = f"{path}: entry {number} of {len(values)}"
        if "prompt_id" in entry:
            prompt_id = entry["prompt_id"]
            where += f" (prompt_id {prompt_id})"
            if number_of.setdefault(prompt_id, number) != number:
                wrong.append(f"has the prompt_id of entry {number_of[prompt_id]}; give each entry its own")
        problems += [f"{where}: {problem}" for problem in wrong]
        entries.append(entry)
    return entries, problems


def _read_entry(
    value: Any, known: Mapping[str, Key], names: Mapping[str, str], folder: Path
) -> tuple[dict[str, Any], list[str]]:
    if not isinstance(value, _Object):
        return {}, [f"is {_shown(value)}; write an object with the keys {', '.join(names)}"]
    problems = [f"{name!r} is no known key{nearest(name, names)}" for name in value if name not in names]
    problems += [f"{name!r} is there twice; keep one" for name in value.twice]
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
                problems.append(f"{name!r} is {_shown(value[name])}; {error}")
    return entry, problems


def _read_list(path: Path) -> list[Any]:
    content = b""
    try:
        content = path.read_bytes()
        values = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_Object)
    except OSError as error:
        raise TaskError(f"{path}: {error.strerror}; give the path of a JSON file") from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise TaskError(f"{path}: line {line} is not UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise TaskError(f"{path}: is no JSON: {error.msg} at {where}; write one list, [{{...}}, ...]") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise TaskError(f"{path}: is no JSON that can be read: {error}") from None
    if not isinstance(values, list):
        raise TaskError(f"{path}: is {_shown(values)}; write a list of entries, [{{...}}, ...]")
    if not values:
        raise TaskError(f"{path}: has no entries; write at least one")
    return values


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; the keys are {', '.join(known)}"


def _shown(value: Any) -> str:
    """The start of a value, as JSON writes it."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
