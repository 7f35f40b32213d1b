"""Candidates that break a GPU's peace, each followed by an honest pair that must come out as it did before.

    python benchmarks/gpu_faults.py                  # under bwrap, on the first visible GPU; about three minutes
    python benchmarks/gpu_faults.py --tier process   # where a process can escape from its end

The candidates are the files of tests/rogues/gpu; what must become of each stands in its docstring. The program prints
a table, and exits with 1 where a candidate ended otherwise, the GPU was not trusted any more, or a speedup moved.
"""

from __future__ import annotations

import ast
import itertools
import re
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from actors.gpu_actor import GpuActor
from actors.messages import (
    Job,
    Limits,
    Measured,
    ModelFile,
    Outcome,
    Plan,
    SandboxSpec,
    ScorerSpec,
    Sign,
    Status,
    Stopped,
)
from actors.model_config import ModelConfig
from harness.embedded import EMBEDDED_SCORERS
from harness.figures import paired_batches

ROGUES = Path(__file__).parents[1] / "tests" / "rogues" / "gpu"
HONEST = "honest"
NAMES = tuple(sorted(path.stem for path in ROGUES.glob("*.py") if path.stem not in (HONEST, "baseline", "__init__")))
PAIRS = itertools.count()  # each is asked other questions
CAPTIONS = (("a red circle",), ("a blue star",))
BATCHES = 6
LIMITS = Limits(start_s=60, load_s=60, warmup_s=20, call_s=5)
UNKNOWN = ModelConfig(None, None, None, None)


@dataclass(frozen=True)
class Case:
    """One rogue and the honest pair after it."""

    name: str
    allowed: frozenset[str]  # statuses
    outcome: Outcome
    after: Outcome
    seconds: float  # both pairs together
    used_gib: float  # of the GPU, after both

    def miss(self, before: float, tolerance: float) -> str:
        """What is not as it must be, or "". before: the honest speedup of before. tolerance: a share of it."""
        if self.outcome.status not in self.allowed:
            return f"ended as {self.outcome.status}: {self.outcome.detail}"
        signs = [word for word in expected(self.name) if word in set(Sign)]
        came_through = self.outcome.status in (Status.MEASURED, Status.REJECTED)
        if signs and came_through and not {finding.sign for finding in self.outcome.findings}.intersection(signs):
            return f"none of the signs {', '.join(signs)}"
        problem = self.outcome.device_problem or self.after.device_problem
        if problem:
            return f"the GPU is not trusted any more: {problem}"
        ratio = speedup(self.after)
        if ratio is None:
            return f"the honest pair ended as {self.after.status}: {self.after.detail}"
        return "" if abs(ratio / before - 1) <= tolerance else "the speedup has moved"


def never(_: Measured) -> Stopped | None:
    """The stopping rule: all batches are measured."""
    return None


def open_actor(tier: str) -> GpuActor:
    """An actor on the first visible GPU."""
    clip = ScorerSpec(f"local-dir:{EMBEDDED_SCORERS['diffharness/tiny-shapes-clip']}")
    sandbox = SandboxSpec(tiers=(tier,), models={}, preimports=("torch",))
    return GpuActor(sandbox, clip, LIMITS, CAPTIONS, "gpu 0", gpu=True)


def job(name: str, source: bytes = b"") -> Job:
    """The pair of the baseline and one of the files, or of another text in its place."""
    baseline = ModelFile(str(ROGUES / "baseline.py"), (ROGUES / "baseline.py").read_bytes())
    candidate = ModelFile(str(file(name)), source or file(name).read_bytes())
    plan = Plan(
        key=f"{name} {next(PAIRS)}",
        batch_size=2,
        warmup_at_least=2,
        warmup_at_most=2,
        warmup_agreement=0.1,
        burn_in=0,
        starts=1,
        stretches=0,
        batches=BATCHES,
        repeats=0,
        profile=False,
        stop=never,
    )
    return Job(name, 1, baseline, candidate, baseline, UNKNOWN, plan, LIMITS)


def file(name: str) -> Path:
    """Where a candidate lies."""
    return ROGUES / f"{name}.py"


def expected(name: str) -> list[str]:
    """The words of a candidate's docstring after "Must become:"."""
    text = (ast.get_docstring(ast.parse(file(name).read_bytes())) or "").partition("Must become:")[2]
    return re.findall(r"[a-z_]+", text)


def allowed(name: str) -> frozenset[str]:
    """The statuses that a candidate's docstring names after "Must become:"."""
    found = frozenset(Status(word) for word in expected(name) if word in set(Status))
    if not found:
        raise ValueError(f'{file(name)}: the docstring names no status after "Must become:"')
    return found


def speedup(outcome: Outcome) -> float | None:
    """The geometric mean of baseline over candidate; None where the pair was not measured."""
    if outcome.status is not Status.MEASURED:
        return None
    ratios = [log(batch.baseline_s / batch.candidate_s) for batch in paired_batches(outcome.batches)]
    return exp(statistics.fmean(ratios))


def used_gib() -> float:
    """The GPU's memory in use, by anyone."""
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 2**30


def try_rogue(actor: GpuActor, name: str) -> Case:
    """Measures one rogue, and the honest pair after it."""
    start = time.perf_counter()
    outcome = actor.measure(job(name), more_to_come=1)
    after = actor.measure(job(HONEST), more_to_come=1)
    return Case(name, allowed(name), outcome, after, time.perf_counter() - start, used_gib())


def table(cases: Sequence[Case], before: float, tolerance: float) -> Table:
    """A row a rogue."""
    shown = Table("candidate", "ended as", "attempts", "speedup after", "in use, GiB", "s", "what is wrong")
    for case in cases:
        ratio = speedup(case.after)
        shown.add_row(
            case.name,
            case.outcome.status,
            str(case.outcome.attempt),
            "-" if ratio is None else f"{ratio:.3f}",
            f"{case.used_gib:.1f}",
            f"{case.seconds:.0f}",
            case.miss(before, tolerance) or "nothing",
        )
    return shown


def main(
    tier: Annotated[str, typer.Option(help="Of the sandbox.")] = "bwrap",
    rogue: Annotated[list[str], typer.Option(help="Only these; repeatable.")] = list(NAMES),  # noqa: B006
    tolerance: Annotated[float, typer.Option(help="How far a speedup may move, as a share of it.")] = 0.05,
) -> None:
    """Measure the rogues on a GPU, and an honest pair after each."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    actor = open_actor(tier)
    try:
        first = actor.measure(job(HONEST), more_to_come=2)
        before = speedup(first)
        if before is None:
            console.print(f"the honest pair ended as {first.status}: {first.detail}\n{first.log}", markup=False)
            raise typer.Exit(1)
        console.print(f"{actor.machine.device}, {actor.tier}: speedup {before:.3f} before, {used_gib():.1f} GiB in use")
        cases = [try_rogue(actor, name) for name in rogue]
    finally:
        actor.close()
    console.print(table(cases, before, tolerance))
    for case in cases:
        for finding in case.outcome.findings:
            console.print(f"{case.name}: {finding.sign}: {finding.evidence}", markup=False)
        if case.outcome.log:
            console.print(f"{case.name}: {case.outcome.log.splitlines()[-1]}", markup=False)
    if any(case.miss(before, tolerance) for case in cases):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
