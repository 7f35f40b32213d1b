"""A model file against itself, many times: how far the speedups are from 1, and whether their intervals hold it.

    python benchmarks/itself.py examples/models/baseline.py --config configs/quickstart.yaml --out results/itself

Every time is a pair of its own, with a fresh process for the candidate, and asks for a speedup of 1.05, which none of
them may pass. The run is that of `diffharness run`; an `--out` that was cut off is continued.
"""

from __future__ import annotations

import json
import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from actors.messages import Status
from harness import driver
from harness.config import load_config
from harness.records import PairRecord, Verdict
from harness.report.display import make_display

REQUIRED = 1.05


def main(
    baseline: Annotated[Path, typer.Argument(help="The model file.")],
    out: Annotated[Path, typer.Option(help="Folder of the result set; the two JSON files lie beside it.")],
    config: Annotated[Path | None, typer.Option(help="YAML, as for diffharness run.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="key=value, as for diffharness run.")] = None,
    times: Annotated[int, typer.Option(help="How often.")] = 20,
) -> None:
    """Measures BASELINE against itself and prints how far off that is."""
    anno, gen = write_tasks(baseline.absolute(), out, times)
    with make_display(Console()) as display:
        records = driver.run(anno, gen, out, load_config(config, overrides or []), display, shlex.join(sys.argv))
    for line in findings(records):
        print(line)


def write_tasks(baseline: Path, out: Path, times: int) -> tuple[Path, Path]:
    """The annotation and the generated file of so many pairs of one file."""
    names = [f"itself-{number:02}" for number in range(1, times + 1)]
    file = str(baseline)
    task = {"prompt_context": "", "difficulty": "easy", "req_speedup": REQUIRED, "gt_file": file, "baseline_file": file}
    tasks = [{"prompt_id": name, **task} for name in names]
    anno, gen = (out.with_name(f"{out.name}-{kind}.json") for kind in ("anno", "gen"))
    out.parent.mkdir(parents=True, exist_ok=True)
    anno.write_text(json.dumps(tasks))
    gen.write_text(json.dumps([{"prompt_id": name, "gen_file": file} for name in names]))
    return anno, gen


def findings(records: Sequence[PairRecord]) -> list[str]:
    """What the pairs say, as lines."""
    measured = [record for record in records if record.status is Status.MEASURED]
    lines = []
    for record in measured:
        low, high = record.speedup_low, record.speedup_high
        held = low is None or high is None or low <= 1 <= high
        interval = "no interval" if low is None else f"({low:.4f} to {high:.4f})"
        batches = f"{record.batches_measured} batches"
        lines.append(f"{record.prompt_id}  {record.speedup:.4f}  {interval}  {batches}{'' if held else '  misses 1'}")
    whose = "starts of the file" if all(record.covers_restarts for record in measured) else "the processes that ran"
    errors = [abs(record.speedup - 1) for record in measured if record.speedup is not None]
    if not errors:
        return [*lines, "nothing was measured"]
    missed = sum(line.endswith("misses 1") for line in lines)
    passed = sum(record.verdict is Verdict.PASS for record in measured)
    return [
        *lines,
        f"{len(measured)} of {len(records)} measured: median |speedup - 1| {statistics.median(errors):.2%}, "
        f"worst {max(errors):.2%}; {missed} intervals (about {whose}) miss 1; "
        f"{passed} pass a requirement of {REQUIRED:g}x",
    ]


if __name__ == "__main__":
    typer.run(main)
