"""The prompts of a run: read from a data set or file, drawn with seeds from the run's secret."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.messages import Batch
from harness.embedded import EMBEDDED_CAPTIONS

# File suffix -> the builder of the `datasets` library that reads it.
BUILDERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".tsv": "csv", ".txt": "text"}
SEEDS = 2**31  # seeds are below this: every generator takes them


class CaptionsError(ValueError):
    """The captions cannot be read, or are too few."""


@dataclass(frozen=True)
class Prompts:
    """What both sides of every pair are asked for."""

    warmup: tuple[Batch, ...]
    timed: tuple[Batch, ...]
    repeats: tuple[Batch, ...] = ()  # for timed batches that the machine disturbs
    other_seeds: tuple[int, ...] = ()  # for the prompts of a timed batch that is asked for again


def read_captions(source: str, column: str, split: str) -> list[list[str]]:
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
    rows = [as_texts(value) for value in table[column]]
    return [row for row in rows if row]


def as_texts(value: Any) -> list[str]:
    """The captions of one row, without the empty ones."""
    texts = value if isinstance(value, list) else [value]
    return [text.strip() for text in texts if isinstance(text, str) and text.strip()]


def draw_prompts(
    captions: Sequence[Sequence[str]], secret: int, prompts: int, batch_size: int, warmup_batches: int, repeats: int = 0
) -> Prompts:
    """Draws rows without replacement, one caption of each, and a seed for every prompt.

    prompts: of the timed batches, a multiple of batch_size. repeats: more batches, for those that are disturbed.
    Raises CaptionsError where there are fewer rows than prompts.
    """
    needed = prompts + (warmup_batches + repeats) * batch_size
    if len(captions) < needed:
        raise CaptionsError(
            f"{len(captions)} captions, and {needed} are needed: {prompts} prompts (evaluation.prompts), "
            f"{warmup_batches} warm-up batches (evaluation.max_warmup_batches) and {repeats} repeats "
            f"(evaluation.max_repeats) of {batch_size}"
        )
    generator = random.Random(secret)
    texts = [generator.choice(row) for row in generator.sample(captions, needed)]
    seeds = generator.sample(range(SEEDS), needed + batch_size)
    starts = range(0, needed, batch_size)
    batches = [Batch(tuple(texts[i : i + batch_size]), tuple(seeds[i : i + batch_size])) for i in starts]
    timed, rest = batches[: prompts // batch_size], batches[prompts // batch_size :]
    return Prompts(
        warmup=tuple(rest[:warmup_batches]),
        timed=tuple(timed),
        repeats=tuple(rest[warmup_batches:]),
        other_seeds=tuple(seeds[needed:]),
    )
