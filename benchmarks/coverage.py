"""How often the intervals miss the truth, and verdicts are wrong, by simulation of whole pairs.

    python -m benchmarks.coverage --jobs 2

Pairs of many kinds are drawn, call by call, and go the way of a measured pair through the project's own functions:
raw rows, `figures` and the stopping rule after every batch, the record with its verdict at the end. Counted are the
runs in which the interval misses the truth at any look (also after measuring would have stopped), those in which it
does at the look where measuring stops, those that pass, and those with a verdict. Exits with 1 if a row has more of
them than `benchmarks/coverage_settings.py` allows. 10,000 runs of a row take a core one to three minutes.
"""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from actors.draws import share
from actors.measure import Turns, block_order
from actors.messages import BatchRow, ImageRow, Layout, Mark, Measured, Outcome, Side, Status, Stopped
from benchmarks.coverage_before import BEFORE, Before
from benchmarks.coverage_settings import LIMIT, SECTIONS, Setting
from benchmarks.noise import Random, Values, mean_slowness
from harness.calibration import CalibrationRow
from harness.evaluation import Sources, make_record
from harness.figures import SequentialDesign, figures
from harness.judge import Criteria
from harness.records import Demands, Figures, Protocol, RareLosses, Reason, Verdict
from harness.requirement import Requirement
from harness.stats import LEAST_STRETCHES, StartSpread
from harness.stopping import StopWhenKnown
from harness.tasks import Difficulty, Pair, Task

CONFIDENCE = 0.95
SPEEDUP = 2.0
CRITERIA = Criteria(Protocol.STRICT, LIMIT)
CALIBRATION = (8, 8)  # starts, and batches of each
CHUNK = 100  # runs that are drawn together
FINISHED = datetime(2025, 1, 1, tzinfo=UTC)


class Call(NamedTuple):
    """A call to be made. number: of this process's calls in turns, from 0. block: as of BatchRow."""

    side: Side
    batch: int
    judged: bool
    number: int
    block: int
    started_last: bool | None


def in_turns(setting: Setting, coin: random.Random) -> list[Call]:
    """The calls of a pair in turns, as `Measurement.interleaved` makes them."""
    calls: list[Call] = []
    others = [number % 2 == 0 for number in range(1, setting.starts)]  # as GpuActor draws who is started last
    for start, candidate_last in enumerate([True, *coin.sample(others, len(others))]):
        turns: Any = Turns(start, Side.BASELINE, Side.CANDIDATE, coin)  # type: ignore[arg-type]
        for number in range(setting.burn_in + share(setting.planned, setting.starts, start)):
            judged, batch = number >= setting.burn_in, len(calls) // 2
            for side in turns.order():
                last = candidate_last is (side is Side.CANDIDATE)
                calls.append(Call(side, batch, judged, number, start, last))
    return calls


def in_blocks(setting: Setting, coin: random.Random) -> list[Call]:
    """The calls of a pair in blocks, as `Measurement.in_blocks` makes them."""
    plan: Any = SimpleNamespace(batches=setting.planned)
    order = block_order(plan, SimpleNamespace(order=str(coin.random())))  # type: ignore[arg-type]
    pairs, calls, loaded, made = len(order) // 2, [], None, 0
    for side, block in order:
        if side is not loaded:
            loaded, made = side, setting.burn_in
            calls += [Call(side, -1, False, number, block, None) for number in range(setting.burn_in)]
        first = sum(share(setting.planned, pairs, number) for number in range(block))
        for batch in range(first, first + share(setting.planned, pairs, block)):
            calls.append(Call(side, batch, True, made, block, None))
            made += 1
    return calls


@dataclass(frozen=True)
class Drawn:
    """All that happens in one run."""

    calls: Sequence[Call]
    seconds: Values  # (calls,)
    baseline_scores: Values  # (images,)
    candidate_scores: Values
    stretches_s: Sequence[float]
    spread: StartSpread | None


def draw(setting: Setting, runs: int, numbers: Random) -> Iterator[Drawn]:
    """Draws what happens in so many runs."""
    coin = random.Random(int(numbers.integers(2**63)))
    make = in_blocks if setting.layout is Layout.BLOCKS else in_turns
    calls = [make(setting, coin) for _ in range(runs)]
    logs, stretches = _machine(setting, calls, numbers)
    shape = (runs, setting.planned * setting.images)
    baseline = numbers.normal(*setting.scores, shape)
    losses = setting.losses(numbers, shape, setting.images) if setting.losses else np.zeros(shape)
    # Of the mean where a score may be anything, else of each score.
    candidate = baseline - losses * (baseline if setting.scores[0] > 4 * setting.scores[1] else setting.scores[0])
    for run in range(runs):
        seconds = np.exp(logs[run, : len(calls[run])] + _of_processes(setting, calls[run], numbers))
        spread = _calibration(setting, numbers).spread if setting.calibrated else None
        yield Drawn(calls[run], seconds, baseline[run], candidate[run], stretches[run].tolist(), spread)


def _machine(setting: Setting, calls: Sequence[Sequence[Call]], numbers: Random) -> tuple[Values, Values]:
    """Log slowness of the machine in every call, (runs, calls), and the baseline's stretches, (runs, stretches)."""
    runs, before = len(calls), LEAST_STRETCHES * (setting.pause or 0)
    candidate = np.zeros((runs, before + max(map(len, calls))), dtype=bool)
    for run, made in enumerate(calls):
        candidate[run, before : before + len(made)] = [call.side is Side.CANDIDATE for call in made]
    logs = setting.noise(numbers, candidate, setting.spread)
    if setting.asks is not Reason.LATENCY:
        return logs, np.empty((runs, 0))
    if setting.pause:
        return logs[:, before:], np.exp(logs[:, : before : setting.pause]) / setting.images
    elsewhere = np.zeros((runs * LEAST_STRETCHES, setting.stretch), dtype=bool)
    stretches = np.exp(setting.noise(numbers, elsewhere, setting.spread)).mean(axis=1)
    return logs, stretches.reshape(runs, -1) / setting.images


def _of_processes(setting: Setting, calls: Sequence[Call], numbers: Random) -> Values:
    """Log slowness of the two processes that answer, (calls,)."""
    of_starts = setting.between * numbers.standard_normal((max(call.block for call in calls) + 1, len(Side)))
    candidate = np.array([call.side is Side.CANDIDATE for call in calls])
    logs = of_starts[[call.block for call in calls], candidate.astype(int)] - candidate * math.log(SPEEDUP)
    logs += setting.order_effect * np.array([bool(call.started_last) for call in calls])
    number = np.array([float(call.number) for call in calls])
    for unsteady, of_side in ((setting.baseline_slow, ~candidate), (setting.candidate_slow, candidate)):
        if unsteady is not None:
            logs += unsteady(number) * of_side
    return logs


def _calibration(setting: Setting, numbers: Random) -> CalibrationRow:
    starts, batches = CALIBRATION
    noise = setting.spread * math.sqrt(2)
    spread = math.sqrt(2 * setting.between**2 + noise**2 / batches)
    means = numbers.normal(-setting.order_effect, spread, starts)
    return CalibrationRow(
        actor="", host="", device="", device_id="", batch_size=1, seconds_per_image=1.0, noise=noise,
        start_means=tuple(means.tolist()), restart_s=0.0, speedup=1.0, speedup_low=1.0, speedup_high=1.0,
        gpu_busy=None, timed=starts * batches, disturbed=0,
    )  # fmt: skip


def rows_of(setting: Setting, drawn: Drawn) -> list[BatchRow]:
    """The timed calls as the actor sends them."""
    return [
        BatchRow(
            call.batch, turn, call.side, setting.images, seconds, seconds, None, None, 0.0,
            judged=call.judged, marks=() if call.judged else (Mark.BURN_IN,), block=call.block,
            started_last=call.started_last,
        )
        for turn, (call, seconds) in enumerate(zip(drawn.calls, drawn.seconds.tolist(), strict=True))
    ]  # fmt: skip


def images_of(setting: Setting, drawn: Drawn, batches: Sequence[int]) -> list[ImageRow]:
    """The scored images as the actor sends them. batches: the numbers of those that are judged."""
    scores = zip(drawn.baseline_scores.tolist(), drawn.candidate_scores.tolist(), strict=True)
    other = setting.scores[0] * (1 - setting.largest)
    return [
        ImageRow(
            batches[image // setting.images], image % setting.images, "", image, False, *both, 1.0, 40.0, (), other
        )
        for image, both in enumerate(scores)
    ]


@dataclass(frozen=True)
class Ended:
    """What became of a run. Shares of runs, once they are averaged."""

    any: float  # a look misses
    stop: float  # the last look before measuring stops does
    passed: float
    decided: float
    batches: float


@dataclass(frozen=True)
class Truth:
    """The true value of the figure that is asked for, and what is required."""

    value: float
    demands: Demands

    @classmethod
    def of(cls, setting: Setting) -> Truth:
        """Of a setting."""
        if setting.asks is Reason.LATENCY:
            seconds = mean_slowness(setting.noise, setting.spread) / SPEEDUP / setting.images
            return cls(seconds, Demands(req_latency_s=seconds / setting.required))
        value = SPEEDUP if setting.asks is Reason.SPEEDUP else setting.loss
        return cls(value, Demands(req_speedup=SPEEDUP * setting.required))

    def missed(self, found: Figures, asks: Reason) -> bool:
        """Whether there is an interval, and the truth is not in it."""
        low, high = {
            Reason.SPEEDUP: (found.speedup_low, found.speedup_high),
            Reason.LATENCY: (found.candidate_seconds_per_image_low, found.candidate_seconds_per_image_high),
            Reason.QUALITY: (found.quality_loss_low, found.quality_loss_high),
        }[asks]
        return low is not None and high is not None and not low <= self.value <= high

    @property
    def pair(self) -> Pair:
        """A pair of which this is demanded."""
        requirement = Requirement(self.demands.req_speedup, self.demands.req_latency_s)
        return Pair(Task("1", "", Difficulty.EASY, None, Path(), Path(), requirement), Path())


def follow(setting: Setting, truth: Truth, drawn: Drawn) -> Ended:
    """One run, from its first look to its verdict, and to the last look that it could have had."""
    rare = RareLosses.BOUND if setting.bound and setting.losses else RareLosses.ASSUME_NONE
    design = SequentialDesign(CONFIDENCE, setting.planned, setting.starts, drawn.spread, rare)
    scored = setting.planned * setting.images
    rule = StopWhenKnown(truth.demands, CRITERIA, design, scored, setting.half_width)
    rows = rows_of(setting, drawn)
    judged = [row for row in rows if row.judged]
    images = images_of(setting, drawn, list(dict.fromkeys(row.batch for row in judged)))
    end: tuple[int, bool, Stopped] | None = None
    missed = False
    for batches in range(1 if setting.layout is Layout.INTERLEAVED else setting.planned, setting.planned + 1):
        seen = Measured(judged[: 2 * batches], images[: batches * setting.images], setting.layout, drawn.stretches_s)
        found = figures(seen, design)
        misses = truth.missed(found, setting.asks)
        missed = missed or misses
        if end is None:
            last = Stopped.BOUND if batches == setting.planned else None
            stopped = last if setting.layout is Layout.BLOCKS else rule.judge(found, seen) or last
            end = (batches, misses, stopped) if stopped else None
    assert end is not None
    batches, misses, stopped = end
    outcome = Outcome(
        "1",
        1,
        Status.MEASURED,
        "",
        batches=tuple(judged[: 2 * batches]),
        images=tuple(images[: batches * setting.images]),
        layout=setting.layout,
        stretches_s=tuple(drawn.stretches_s),
        stopped=stopped,
    )
    record = make_record(truth.pair, Sources(), outcome, CRITERIA, design, FINISHED)
    return Ended(missed, misses, record.passed, record.verdict is not Verdict.INCONCLUSIVE, batches)


def simulate(section: str, row: int, seed: int, runs: int) -> list[Ended]:
    """So many runs of a setting; the same seed draws the same."""
    setting = SECTIONS[section][row]
    truth, numbers = Truth.of(setting), np.random.default_rng([seed, zlib.crc32(setting.name.encode())])
    return [follow(setting, truth, drawn) for drawn in draw(setting, runs, numbers)]


def mean(runs: Sequence[Ended]) -> Ended:
    """Shares in per cent, and the mean number of batches."""
    columns = [fmean(column) for column in zip(*map(astuple, runs), strict=True)]
    return Ended(*(100 * share_ for share_ in columns[:-1]), columns[-1])


def problems(setting: Setting, found: Ended) -> list[str]:
    """What is beyond its bound."""
    said = []
    if setting.most_missed is not None and max(found.any, found.stop) > setting.most_missed:
        said.append(f"misses more than {setting.most_missed:g}%")
    if setting.most_passed is not None and found.passed > setting.most_passed:
        said.append(f"passes more than {setting.most_passed:g}%")
    if setting.least_passed is not None and found.passed < setting.least_passed:
        said.append(f"passes less than {setting.least_passed:g}%")
    return said


def line(setting: Setting, found: Ended, before: Before | None) -> str:
    """A row of a table."""
    figures_ = [f"{value:7.1f}" for value in astuple(found)]
    earlier = [f"{value:7.1f}" for value in astuple(before)] if before else [" " * 7] * 5
    beyond = "; ".join(problems(setting, found))
    return f"{setting.name:56}{''.join(figures_)}   {''.join(earlier)}  {beyond}".rstrip()


def tables(sections: Sequence[str], runs: int, jobs: int, seed: int) -> bool:
    """Prints the tables of these sections; whether every row keeps within its bounds."""
    sound, sizes = True, [min(CHUNK, runs - done) for done in range(0, runs, CHUNK)]
    # Forked, not started anew: each process would import torch again.
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        asked = {
            (section, row): [
                pool.submit(simulate, section, row, seed + chunk, size) for chunk, size in enumerate(sizes)
            ]
            for section in sections
            for row in range(len(SECTIONS[section]))
        }
        for section in sections:
            print(f"\n{section}\n{'':56}{HEADER}   {HEADER}\n{'':56}{'now':>7}{'':31}{'before':>7}")
            for row, setting in enumerate(SECTIONS[section]):
                found = mean([ended for part in asked.pop((section, row)) for ended in part.result()])
                sound = sound and not problems(setting, found)
                print(line(setting, found, BEFORE.get(section, {}).get(setting.name)), flush=True)
    return sound


HEADER = "    any   stop   PASS  known batches"


def main(
    runs: Annotated[int, typer.Option(min=1, help="of every row")] = 10_000,
    jobs: Annotated[int, typer.Option(min=1, help="processes")] = 1,
    only: Annotated[str | None, typer.Option(help=f"one section: {', '.join(SECTIONS)}")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Prints how often intervals miss the truth, and how pairs end."""
    if only is not None and only not in SECTIONS:
        raise typer.BadParameter(f"{only}: the sections are {', '.join(SECTIONS)}", param_hint="--only")
    print(f"{runs} runs of every row. Per cent of runs in which the interval misses the truth at any look (any), or at")
    print(
        "the look where measuring stops (stop); which pass (PASS); which have a verdict (known). Then the mean number"
    )
    print("of batches until measuring stops. Before: the rules until a81425d.")
    if not tables([only] if only else list(SECTIONS), runs, jobs, seed):
        raise SystemExit("a row is beyond its bound")


if __name__ == "__main__":
    typer.run(main)
