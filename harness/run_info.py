"""run.json: what a result set was made with, and the check that a later run continues it with the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actors.escaped import escaped
from harness.durable import ASIDE, replace_json
from harness.records import READABLE_VERSIONS, SCHEMA_VERSION

LOCK_FILE = ".lock"
SHOWN_DIFFERENCES = 8


class ResultSetError(ValueError):
    """A folder that cannot be written to, or read, as a result set."""


def read_run_info(folder: Path) -> dict[str, Any] | None:
    """What run.json says; None where the folder is missing or empty.

    Raises ResultSetError if the folder holds something else than a result set of a version that can be read.
    """
    path = folder / "run.json"
    try:
        if folder.exists() and not folder.is_dir():
            raise ResultSetError(f"{folder}: this is a file; give a folder as --out")
        if not path.exists():
            _refuse_strangers(folder)
            return None
    except OSError as error:
        raise ResultSetError(f"{folder}: cannot be read: {error.strerror}; give another folder") from None
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultSetError(f"{path}: cannot be read: {error}; give another folder") from None
    if not isinstance(info, dict) or not {"schema_version", "config", "prompt_ids"} <= info.keys():
        raise ResultSetError(f"{path}: not written by diffharness; give another folder")
    if info["schema_version"] not in READABLE_VERSIONS:
        raise ResultSetError(
            f"{path}: schema_version is {info['schema_version']}, and this diffharness reads "
            f"{' and '.join(map(str, READABLE_VERSIONS))}; give another folder, or use the diffharness that wrote it"
        )
    return info


def read_continued(folder: Path) -> dict[str, Any] | None:
    """As `read_run_info`, of a result set that is to be written to: that of an older version can only be read."""
    info = read_run_info(folder)
    if info is not None and info["schema_version"] != SCHEMA_VERSION:
        raise ResultSetError(
            f"{folder / 'run.json'}: schema_version is {info['schema_version']}, and this diffharness writes "
            f"{SCHEMA_VERSION}: the result set can be read and judged again, and not be continued. Give another --out, "
            "or continue it with the diffharness that wrote it"
        )
    return info


def write_run_info(folder: Path, run_info: Mapping[str, Any], order: Sequence[str]) -> None:
    """Write what the first run in a folder was given; a later one is added under "resumed".

    Raises ResultSetError where the later one has another configuration.
    """
    new = json.loads(json.dumps(run_info))  # as it will read back: tuples are lists
    before = read_continued(folder)
    if before is None:
        info = {"schema_version": SCHEMA_VERSION, **new, "resumed": []}
    else:
        _refuse_other_config(folder, before["config"], new["config"])
        again = {key: value for key, value in new.items() if key != "config"}
        info = {**before, "resumed": [*before["resumed"], again]}
    replace_json(folder / "run.json", {**info, "prompt_ids": list(order)})


def write_end(folder: Path, spent: Mapping[str, Any], statistics: Mapping[str, Any], out_of_use: Sequence[str]) -> None:
    """Add what the actors' time went into, the statistics of all records, and which actors the last run lost.

    spent, statistics: plain JSON values, over all runs in this folder.
    """
    end = {"spent": spent, "statistics": statistics, "out_of_use": [escaped(line) for line in out_of_use]}
    replace_json(folder / "run.json", {**(read_continued(folder) or {}), **end})


def read_out_of_use(folder: Path) -> list[str]:
    """The actors that the last run in a folder lost, each with its device and the reason; empty where none was."""
    return [str(line) for line in (read_run_info(folder) or {}).get("out_of_use", ())]


def _refuse_strangers(folder: Path) -> None:
    names = [entry.name for entry in folder.iterdir()] if folder.exists() else []
    strangers = sorted(name for name in names if name != LOCK_FILE and not name.startswith(ASIDE))
    if strangers:
        raise ResultSetError(
            f"{folder}: not a result set (there is no run.json) and not empty ({strangers[0]} is in it); "
            "give another folder"
        )


def _refuse_other_config(folder: Path, there: object, now: object) -> None:
    old, new = _flat(there), _flat(now)
    differences = [
        f"{key} is {old.get(key, 'not set')} there and {new.get(key, 'not set')} now"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]
    if not differences:
        return
    shown = "; ".join(differences[:SHOWN_DIFFERENCES])
    more = len(differences) - SHOWN_DIFFERENCES
    raise ResultSetError(
        f"{folder}: holds a run of another configuration: {shown}{f'; and {more} more' if more > 0 else ''}. "
        "Give another --out, or the old configuration"
    )


def _flat(config: object, prefix: str = "") -> dict[str, str]:
    """{"a": {"b": 1}} as {"a.b": "1"}; values as JSON writes them."""
    if not isinstance(config, dict) or not config:
        return {prefix: json.dumps(config)}
    flat: dict[str, str] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else key)
    return flat
