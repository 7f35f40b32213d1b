"""The captions that prompts are drawn from, read from a data set or a file. `actors.draws` draws them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from harness.config import Evaluation
from harness.embedded import EMBEDDED_CAPTIONS

# File suffix -> the builder of the `datasets` library that reads it.
BUILDERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".tsv": "csv", ".txt": "text"}


Captions = tuple[tuple[str, ...], ...]  # of each row of a data set


class CaptionsError(ValueError):
    """The captions cannot be read, or are too few."""


def read_captions(source: str, column: str, split: str) -> Captions:
    """The captions of each row of `source`: an embedded name, a local file, or a name that `datasets` knows.

    Raises CaptionsError.
    """
    import datasets

    datasets.disable_progress_bars()
    path = EMBEDDED_CAPTIONS.get(source, Path(source))
    is_file = os.path.isfile(path)  # noqa: PTH113  (it never raises)
    if path.suffix.lower() in BUILDERS and not is_file:
        raise CaptionsError(f"captions.source {source!r}: there is no such file")  # before the hub is asked for minutes
    builder = None
    try:
        if is_file:
            builder = BUILDERS.get(path.suffix.lower())
            if builder is None:
                raise CaptionsError(f"{path}: unknown kind of file; known: {', '.join(BUILDERS)}")
            options = {"sep": "\t"} if path.suffix.lower() == ".tsv" else {}
            table = datasets.load_dataset(builder, data_files=str(path), split="train", **options)
        else:
            table = datasets.load_dataset(source, split=split)
    except CaptionsError:
        raise
    except Exception as error:  # the library's readers share no class of errors
        raise CaptionsError(f"captions.source {source!r} cannot be read: {error}") from error
    if builder == "text":
        column = "text"  # a caption a line, and no columns
    if column not in table.column_names:
        names = ", ".join(table.column_names)
        raise CaptionsError(f"captions.source {source!r} has no column {column!r} (captions.column); it has: {names}")
    rows = (as_texts(value) for value in table[column])
    return tuple(row for row in rows if row)


def as_texts(value: Any) -> tuple[str, ...]:
    """The captions of one row, without the empty ones."""
    texts = value if isinstance(value, list) else [value]
    return tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())


def require_enough(rows: int, settings: Evaluation) -> None:
    """Raise CaptionsError if a pair in turns would be asked for one caption twice. rows: of the data set."""
    first_calls = settings.restarts * (settings.max_warmup_batches + settings.burn_in)
    needed = settings.prompts + (first_calls + settings.max_repeats) * settings.batch_size
    if rows < needed:
        raise CaptionsError(
            f"captions.source has {rows} captions, and {needed} are needed: {settings.prompts} prompts "
            f"(evaluation.prompts), and for each of {settings.restarts} starts (evaluation.restarts) "
            f"{settings.max_warmup_batches} warm-up batches (evaluation.max_warmup_batches) and {settings.burn_in} "
            f"more (evaluation.burn_in), and {settings.max_repeats} repeats (evaluation.max_repeats), of "
            f"{settings.batch_size} prompts each"
        )
