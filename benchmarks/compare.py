"""The plain protocol and diffharness on the same pairs and the same GPU, in turn, side by side.

    python benchmarks/compare.py --anno examples/anno.json --gen examples/gen.json \
      --config configs/quickstart.yaml --out results/compare --sequential-pairs 4

The folder of `--out` then holds `sequential.json` and the result set `diffharness`. What it holds of an earlier call
that was cut off is not measured again.
"""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.table import Table

from harness.config import load_config

Row = Mapping[str, Any]  # a pair, with at least prompt_id, speedup, speedup_low and speedup_high

SEQUENTIAL = Path(__file__).with_name("sequential.py")
# One process on one device of this machine, as the plain protocol has it, and the same seed for both.
ALIKE = ("evaluation.seed=0",)
ALONE = ("pool.address=local", "pool.actors=1")


@dataclass(frozen=True)
class Protocol:
    """What one of the two protocols found, and at what cost."""

    name: str
    rows: Sequence[Row]
    pairs_s: float  # what all pairs took
    useful_s: float  # of that, in warm-up and timed calls
    images: float  # of each side of a measured pair, on average
    command_s: float | None  # the whole command; None where it had run before
    command_pairs_s: float  # what the pairs took that this command measured

    @property
    def pairs_per_hour(self) -> float:
        """Of pairs that were run at all, without the command's start and end."""
        return 3600 * sum(row["wall_s"] > 0 for row in self.rows) / self.pairs_s

    def half_width(self, prompt_ids: Set[str]) -> float | None:
        """Median over these pairs of half the interval of the speedup, relative to the speedup."""
        widths = [
            (row["speedup_high"] - row["speedup_low"]) / 2 / row["speedup"]
            for row in self.rows
            if row["prompt_id"] in prompt_ids and row["speedup_low"] is not None
        ]
        return statistics.median(widths) if widths else None


def read_sequential(path: Path, command_s: float | None) -> Protocol:
    """What sequential.py has written."""
    summary = json.loads(path.read_text(encoding="utf-8"))
    rows = summary["pairs"]
    pairs_s = sum(row["wall_s"] for row in rows)
    useful_s = sum(row["seconds"]["warmup"] + row["seconds"]["timed"] for row in rows)
    return Protocol("sequential", rows, pairs_s, useful_s, mean_images(rows, "images"), command_s, pairs_s)


def read_result_set(folder: Path, command_s: float, started: datetime) -> Protocol:
    """What `diffharness run` has written; started: of the command that took `command_s`."""
    rows = pq.read_table(folder / "pairs.parquet", partitioning=None).to_pylist()
    useful_s = 0.0
    for row in rows:
        useful_s += row["timed_s"] + sum(row["candidate_warmup_s"] or ())
        if not row["baseline_warm_from_before"]:
            useful_s += sum(row["baseline_warmup_s"] or ())
    return Protocol(
        name="diffharness",
        rows=rows,
        pairs_s=sum(row["wall_s"] + row["idle_s"] for row in rows),
        useful_s=useful_s,
        images=mean_images(rows, "images_measured"),
        command_s=command_s,
        command_pairs_s=sum(row["wall_s"] + row["idle_s"] for row in rows if row["finished_at"] >= started),
    )


def mean_images(rows: Sequence[Row], column: str) -> float:
    """Images of each side, on average over the pairs that have a speedup; 0 where none has."""
    counts = [row[column] for row in rows if row["speedup"] is not None]
    return statistics.fmean(counts) if counts else 0.0


def run(arguments: Sequence[str | Path]) -> float:
    """Runs a command of this interpreter on one GPU; its seconds. Where it fails, so does this program."""
    start = time.perf_counter()
    environment = {"CUDA_VISIBLE_DEVICES": "0", **os.environ}
    done = subprocess.run([sys.executable, *map(str, arguments)], env=environment)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(map(str, arguments))}: ended with {done.returncode}; what it said stands above")
    return time.perf_counter() - start


def costs(protocols: Sequence[Protocol]) -> Table:
    """What a pair costs and what that buys, a column for each protocol."""
    table = Table("", *(protocol.name for protocol in protocols))
    rest = [None if p.command_s is None else p.command_s - p.command_pairs_s for p in protocols]
    table.add_row("pairs", *(str(len(p.rows)) for p in protocols))
    table.add_row("pairs per hour", *(f"{p.pairs_per_hour:.1f}" for p in protocols))
    table.add_row("images per side and pair", *(f"{p.images:.1f}" for p in protocols))
    shared = set.intersection(*({row["prompt_id"] for row in p.rows} for p in protocols))
    widths = [percent(p.half_width(shared)) for p in protocols]
    table.add_row("median relative half width of the speedup, same pairs", *widths)
    table.add_row("share of time in warm-up and timed calls", *(percent(p.useful_s / p.pairs_s) for p in protocols))
    table.add_row("whole command, s", *(number(p.command_s) for p in protocols))
    table.add_row("of it start and end, s", *(number(seconds) for seconds in rest))
    return table


def speedups(sequential: Protocol, ours: Protocol) -> Table:
    """The speedup of every pair by both protocols, with its interval."""
    table = Table("pair", "candidate", sequential.name, ours.name, "images", "verdict")
    others = {row["prompt_id"]: row for row in sequential.rows}
    for row in ours.rows:
        name = Path(row["candidate_file"] or "").stem
        images = str(row["images_measured"])
        found = interval(others.get(row["prompt_id"])), interval(row)
        table.add_row(row["prompt_id"], name, *found, images, f"{row['verdict']} {row['reason'] or ''}".strip())
    return table


def interval(row: Row | None) -> str:
    """A speedup as people read it."""
    if row is None or row["speedup"] is None:
        return "-"
    if row["speedup_low"] is None:
        return f"{row['speedup']:.3f}"
    return f"{row['speedup']:.3f} ({row['speedup_low']:.3f} to {row['speedup_high']:.3f})"


def percent(share: float | None) -> str:
    """A share as people read it."""
    return "-" if share is None else f"{100 * share:.2f}%"


def number(seconds: float | None) -> str:
    """Seconds as people read them."""
    return "-" if seconds is None else f"{seconds:.1f}"


def main(
    anno: Annotated[Path, typer.Option(help="The annotation file.")],
    gen: Annotated[Path, typer.Option(help="The generated file.")],
    out: Annotated[Path, typer.Option(help="Folder of both results.")],
    config: Annotated[Path, typer.Option(help="YAML, as of diffharness run.")],
    overrides: Annotated[list[str], typer.Option("--set", help="key=value; repeatable.")] = [],  # noqa: B006
    sequential_pairs: Annotated[
        int | None,
        typer.Option(help="Only so many pairs by the plain protocol, whose rate is the same for each.", min=1),
    ] = None,
) -> None:
    """Measure the pairs by both protocols and compare what that cost and what it found."""
    out.mkdir(parents=True, exist_ok=True)
    settings = [*ALIKE, *overrides, *ALONE]
    shared: list[str | Path] = ["--anno", anno, "--gen", gen, "--config", config]
    shared += [part for setting in settings for part in ("--set", setting)]
    sequential = out / "sequential.json"
    sequential_s = None
    if not sequential.exists():
        few = [] if sequential_pairs is None else ["--pairs", str(sequential_pairs)]
        unfinished = out / "sequential-unfinished.json"
        sequential_s = run([SEQUENTIAL, *shared, *few, "--out", unfinished])
        unfinished.rename(sequential)
    resolved = load_config(config, settings).model_dump(mode="json", exclude={"pool"})
    if json.loads(sequential.read_text(encoding="utf-8"))["config"] != resolved:
        raise typer.BadParameter(f"{sequential} was measured with another configuration; give another --out")
    started = datetime.now(UTC)
    ours_s = run(["-m", "harness", "run", *shared, "--out", out / "diffharness"])
    protocols = [read_sequential(sequential, sequential_s), read_result_set(out / "diffharness", ours_s, started)]
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(speedups(*protocols))
    console.print(costs(protocols))
    ratio = protocols[1].pairs_per_hour / protocols[0].pairs_per_hour
    console.print(f"diffharness measures {ratio:.2f} times as many pairs per hour.")


if __name__ == "__main__":
    typer.run(main)
