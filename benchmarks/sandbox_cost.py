"""What the sandbox costs: every tier that works here beside `process`, which is no sandbox; exits with 1 above a bound.

    python benchmarks/sandbox_cost.py
    python benchmarks/sandbox_cost.py --device gpu --baseline benchmarks/sd15/baseline.py \
      --candidate benchmarks/sd15/deepcache_3.py --config benchmarks/sd15/config.yaml --set models.random/sd15=DIR

The overhead is seen on a pipeline that does nothing, whose pair is then start, requests and end of two children; the
speedup on a pair of real ones. The tiers take turns, in an order that changes from round to round.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from actors.cgroup import freezer
from actors.gpu_actor import GpuActor
from actors.machine import find_device
from actors.messages import Batch, Job, Limits, ModelFile, Outcome, PoolSpec, SandboxSpec, Side, Status
from actors.sandbox import Child, tier_problem
from actors.side import LoadedSide
from actors.tiers import TIERS, Device
from harness import driver, stats
from harness.config import Config, load_config
from harness.figures import paired_batches
from harness.planning import FileReader, captions_of, plan_pair, sequential_design
from harness.requirement import Requirement
from harness.stopping import MeasureAll
from harness.tasks import Difficulty, Pair, Task

ROOT = Path(__file__).parents[1]
PLAIN = "process"  # what the other tiers are held against
MOST_A_CALL_S = 0.05
MOST_A_PAIR_S = 1.0
CONFIDENCE = 0.95
CALLS = 20  # of each child of a pair that does nothing: warm-up and timed calls
BATCH = Batch(("a red circle", "a blue star"), (1, 2))
NOTHING = ModelFile(
    "/nowhere/nothing.py",
    b"""
import torch

class Nothing:
    images = torch.zeros(2, 3, 64, 64)
    def __call__(self, prompt, **call):
        return self.images

pipe = Nothing()
""",
)


@dataclass(frozen=True)
class Overhead:
    """What a pair that does nothing took. Seconds: of both children together, and the median of its calls."""

    start_s: float
    load_s: float
    call_s: float
    end_s: float
    pair_s: float
    stop_s: float  # after a call until it stands still; no part of the call
    go_on_s: float


def in_turn(tiers: Sequence[str], rounds: int) -> Iterator[str]:
    """The tiers, `rounds` times, each round in the other order than the one before."""
    for number in range(rounds):
        yield from tiers if number % 2 == 0 else reversed(tiers)


def pair_of_nothing(tier: str, spec: SandboxSpec, device: Device) -> Overhead:
    """Two children, one after the other, as both sides of a pair."""
    start_s = load_s = end_s = 0.0
    calls: list[float] = []
    stops: list[float] = []
    goes: list[float] = []
    begin = time.perf_counter()
    for side in Side:
        start = time.perf_counter()
        child = Child(tier, spec, device, Limits())
        try:
            child.wait_ready()
            start_s += time.perf_counter() - start
            loaded = LoadedSide.load(side, child, NOTHING)
            load_s += loaded.load_s
            calls += [loaded.call(BATCH, 0, 0, "call_s")[0].wall_s for _ in range(CALLS)]
            for _ in range(CALLS):
                goes.append(seconds_taken(child.resume))
                stops.append(seconds_taken(child.pause))
        finally:
            start = time.perf_counter()
            child.end()
        end_s += time.perf_counter() - start
    pair_s = time.perf_counter() - begin - sum(stops) - sum(goes)
    median = statistics.median
    return Overhead(start_s, load_s, median(calls), end_s, pair_s, median(stops), median(goes))


def seconds_taken(call: Callable[[], None]) -> float:
    """How long something takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def real_job(config: Config, baseline: Path, candidate: Path, reader: FileReader) -> Job:
    """The pair of two model files, all of whose batches are measured."""
    task = Task("cost", "", Difficulty.EASY, None, baseline, baseline, Requirement())
    planned = plan_pair(Pair(task, candidate), "sandbox_cost", config, sequential_design(config), reader).next
    if isinstance(planned, Outcome):
        raise typer.BadParameter(f"the pair cannot be measured: {planned.status}: {planned.detail}")
    return replace(planned, plan=replace(planned.plan, stop=MeasureAll(), profile=False))


def real_pair(tier: str, job: Job, pool: PoolSpec, spec: SandboxSpec, gpu: bool) -> Outcome:
    """The pair, measured by an actor of its own in this tier; an error where that fails."""
    actor = GpuActor(replace(spec, tiers=(tier,)), pool.scorer, job.limits, pool.captions, "cost", gpu)
    try:
        outcome = actor.measure(job, more_to_come=0)
    finally:
        actor.close()
    if outcome.status is not Status.MEASURED:
        sys.exit(f"{tier}: the pair ended as {outcome.status}: {outcome.detail}\n{outcome.log}")
    return outcome


def seconds_of(outcomes: Sequence[Outcome]) -> tuple[list[float], list[float]]:
    """The baseline's and the candidate's seconds of all batches of several outcomes of one pair."""
    batches = [batch for outcome in outcomes for batch in paired_batches(outcome.batches)]
    return [batch.baseline_s for batch in batches], [batch.candidate_s for batch in batches]


def added(tier_s: Sequence[float], plain_s: Sequence[float]) -> stats.Interval:
    """Mean of tier minus plain over paired rounds, in seconds, with Student's t interval."""
    share = stats.relative_loss(tier_s, plain_s, range(len(tier_s)), CONFIDENCE)
    assert share is not None, "times are positive"
    mean = statistics.fmean(tier_s)
    low, high = (None if end is None else end * mean for end in (share.low, share.high))
    return stats.Interval(share.value * mean, low, high)


def agreement(tier: Sequence[Outcome], plain: Sequence[Outcome]) -> stats.Interval:
    """The speedup in a tier over that without, over the same batches: 1 is in the interval where they agree."""
    inside, outside = (np.divide(*seconds_of(outcomes)) for outcomes in (tier, plain))
    return stats.speedup(stats.log_ratios(inside, outside), CONFIDENCE)


def written(value: stats.Interval, factor: float = 1.0, decimals: int = 1) -> str:
    """An interval as people read it."""
    low, high = ("-" if end is None else f"{factor * end:.{decimals}f}" for end in (value.low, value.high))
    return f"{factor * value.value:.{decimals}f} ({low} to {high})"


def overhead_table(found: dict[str, list[Overhead]]) -> tuple[Table, list[str]]:
    """What a pair of nothing takes in each tier and what that adds to `process`; and the bounds that are missed."""
    table = Table(
        *(
            "tier",
            "start, s",
            "load, ms",
            "call, ms",
            "end, ms",
            "stop, ms",
            "go on, ms",
            "pair, s",
            "adds to a call, ms",
            "to a pair, s",
        )
    )
    missed = []
    for tier, rounds in found.items():
        medians = {
            name: statistics.median(getattr(one, name) for one in rounds)
            for name in ("start_s", "load_s", "call_s", "end_s", "stop_s", "go_on_s", "pair_s")
        }
        plain = found[PLAIN]
        call, pair = (
            added([getattr(one, name) for one in rounds], [getattr(one, name) for one in plain])
            for name in ("call_s", "pair_s")
        )
        table.add_row(
            tier,
            f"{medians['start_s']:.2f}",
            *(f"{1000 * medians[name]:.1f}" for name in ("load_s", "call_s", "end_s", "stop_s", "go_on_s")),
            f"{medians['pair_s']:.2f}",
            *(("-", "-") if tier == PLAIN else (written(call, 1000, 2), written(pair, 1, 2))),
        )
        if medians["stop_s"] + medians["go_on_s"] >= MOST_A_CALL_S:
            missed.append(f"{tier}: a child is stopped and goes on in more than {MOST_A_CALL_S:g} s")
        for name, bound in (("call_s", MOST_A_CALL_S), ("pair_s", MOST_A_PAIR_S)):
            more = medians[name] - statistics.median(getattr(one, name) for one in plain)
            if more >= bound:
                missed.append(f"{tier}: adds {more:.3f} s to {name.removesuffix('_s')}; {bound:g} s are the most")
    return table, missed


def speedup_table(found: dict[str, list[Outcome]]) -> tuple[Table, list[str]]:
    """The speedup of the real pair in each tier; and where one does not agree with that in `process`."""
    table = Table("tier", "speedup", "over that in process", "baseline, s a call", "whole pair, s")
    missed = []
    for tier, outcomes in found.items():
        baseline_s, candidate_s = seconds_of(outcomes)
        same = agreement(outcomes, found[PLAIN])
        table.add_row(
            tier,
            written(stats.speedup(stats.log_ratios(baseline_s, candidate_s), CONFIDENCE), decimals=3),
            "-" if tier == PLAIN else written(same, decimals=3),
            f"{statistics.median(baseline_s):.3f}",
            f"{statistics.median(outcome.wall_s for outcome in outcomes):.1f}",
        )
        if tier != PLAIN and (same.low is None or same.high is None or not same.low <= 1 <= same.high):
            missed.append(f"{tier}: another speedup than in {PLAIN}: {written(same, decimals=3)} times that")
    return table, missed


def main(
    device: Annotated[str, typer.Option(help="cpu or gpu.")] = "cpu",
    baseline: Annotated[Path, typer.Option(help="Of the real pair.")] = ROOT / "examples/models/baseline.py",
    candidate: Annotated[Path, typer.Option(help="Of the real pair.")] = ROOT / "examples/models/deepcache.py",
    config: Annotated[Path, typer.Option(help="YAML, as of diffharness run.")] = ROOT / "configs/quickstart.yaml",
    overrides: Annotated[list[str], typer.Option("--set", help="key=value; repeatable.")] = [],  # noqa: B006
    rounds: Annotated[int, typer.Option(help="Pairs of nothing in each tier.", min=2)] = 6,
    pairs: Annotated[int, typer.Option(help="Real pairs in each tier.", min=1)] = 2,
    threads: Annotated[int, typer.Option(help="Of the CPU, of each child; 0 leaves it to torch.", min=0)] = 1,
) -> None:
    """Measure what each tier adds, and the speedup in it; exit with 1 where a bound is missed."""
    settings = load_config(config, overrides)
    for tier in TIERS:
        if problem := tier_problem(tier):
            print(f"{tier}: not measured: {problem}")
    tiers = [tier for tier in TIERS if tier_problem(tier) is None]
    reader = FileReader(settings)
    job = real_job(settings, baseline, candidate, reader)
    pool = driver.pool_spec(settings, reader.models, captions_of(settings))
    spec = replace(pool.sandbox, threads=threads or None)
    one = find_device(device == "gpu")
    print(f"{one.name}; load of the machine {os.getloadavg()[0]:.1f} of {os.cpu_count()} CPUs")
    print(f"children are stopped by {freezer()}")
    console = Console(width=None if sys.stdout.isatty() else 120)
    nothing: dict[str, list[Overhead]] = {tier: [] for tier in tiers}
    for tier in in_turn(tiers, rounds):
        nothing[tier].append(pair_of_nothing(tier, spec, one))
    table, missed = overhead_table(nothing)
    console.print(table)
    real: dict[str, list[Outcome]] = {tier: [] for tier in tiers}
    for tier in in_turn(tiers, pairs):
        real[tier].append(real_pair(tier, job, pool, spec, device == "gpu"))
    table, problems = speedup_table(real)
    console.print(table)
    missed += problems
    print(f"load of the machine at the end {os.getloadavg()[0]:.1f}")
    for line in missed:
        print(f"missed: {line}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    typer.run(main)
