"""Which share of the baseline's turn must a kernel that a candidate left on the GPU take, so that NVML shows it?

    python benchmarks/left_kernels.py --share 0 --share 0.02 --share 0.05 --share 0.2 --share 1

The candidate is tests/rogues/gpu/runs_on.py, which does the baseline's work and leaves a kernel behind after each
answer: it looks faster as far as that kernel slows the baseline. Signs are noted and reject nothing here.
"""

from __future__ import annotations

import re
import statistics
import sys
from dataclasses import replace
from typing import Annotated

import typer
from gpu_faults import file, job, open_actor, speedup
from rich.console import Console
from rich.table import Table

from actors.messages import Outcome, Side

NAME = "runs_on"
GHZ = 1.8  # of the clock that torch.cuda._sleep counts; an H200 runs at 1.7 to 1.98


def source_for(seconds: float) -> bytes:
    """The candidate that leaves a kernel of so many seconds."""
    text = file(NAME).read_text()
    changed = re.sub(r"^CYCLES = .*$", f"CYCLES = {int(seconds * GHZ * 1e9)}", text, flags=re.MULTILINE)
    assert changed != text
    return changed.encode()


def row(share: float, turn_s: float, outcome: Outcome) -> list[str]:
    """What was seen of one candidate."""
    turns = [one for one in outcome.batches if one.side is Side.BASELINE]
    seen = [one.stopped_gpu_share for one in turns if one.stopped_gpu_share is not None]
    ratio = speedup(outcome)
    return [
        f"{share:.0%}",
        outcome.status,
        "-" if ratio is None else f"{ratio:.3f}",
        f"{statistics.median(one.wall_s for one in turns) / turn_s:.2f}" if turns else "-",
        f"{statistics.fmean(seen):.1%}" if seen else "-",
        f"{sum(value > 0 for value in seen)} of {len(turns)}, {len(turns) - len(seen)} without a sample",
        ", ".join(finding.sign for finding in outcome.findings) or "none",
    ]


def main(
    share: Annotated[list[float], typer.Option(help="Of the baseline's turn; repeatable.")] = [0, 0.02, 0.05, 0.1, 0.5],  # noqa: B006
    batches: Annotated[int, typer.Option(help="Turns of each side.")] = 12,
    tier: Annotated[str, typer.Option(help="Of the sandbox.")] = "bwrap",
) -> None:
    """Measure the candidate with kernels of several lengths."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table("share", "ended as", "speedup", "baseline / alone", "share by NVML", "turns with a hit", "signs")
    actor = open_actor(tier)
    try:
        honest = actor.measure(job("baseline"), more_to_come=1)
        turn_s = statistics.median(one.wall_s for one in honest.batches if one.side is Side.BASELINE)
        for part in share:
            pair = job(NAME, source_for(part * turn_s))
            plan = replace(pair.plan, batches=batches, reject=frozenset())
            table.add_row(*row(part, turn_s, actor.measure(replace(pair, plan=plan), more_to_come=1)))
    finally:
        actor.close()
    console.print(f"{actor.machine.device}, {actor.tier}, {batches} turns of {turn_s:.3f} s")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
