"""How often the pass rate of a suite holds the truth, by simulation.

    python benchmarks/suite_coverage.py

Suites of 604 tasks share 12, 40 or 150 baselines of unequal sizes. Each task's true speedup is drawn relative to the
required one, and tasks of one baseline are alike. Each task is judged PASS, FAIL or INCONCLUSIVE by a 95% interval on
the log ratios of 16 batches. Counted are the suites in which the interval of `harness.pass_rate` holds (a) the rate of
the population that the suite was drawn from, and (b) the share of its own 604 tasks that truly meet their requirement.
Two other intervals stand beside it: Wilson's of PASS / 604, and the usual cluster-robust one. Exits with 1 where (a) or
(b) holds in less than 94% of the suites. One core needs about 20 seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from scipy.special import ndtri, stdtrit  # type: ignore[import-untyped]

from harness.pass_rate import error_of_an_end, rate_interval

Random = np.random.Generator
Values = npt.NDArray[np.float64]  # (suites,), (suites, tasks) or (suites, baselines)
Flags = npt.NDArray[np.bool_]
Ends = tuple[Values, Values]

CONFIDENCE = 0.95
NEEDED = 0.94
TASKS = 604  # of DiffBench
BATCHES = 16
MARGINS = 0.2  # standard deviation of log(true speedup / required speedup) over all tasks
SHORTFALL = 0.999  # the true speedup, as a share of the required one, of the tasks that are hardest to judge
BOUND = TASKS * (1 - CONFIDENCE) / 2  # of the expected false passes
SIZES = (
    0.8  # standard deviation of the logarithms of the baselines' sizes: of 12, the largest has a quarter of the tasks
)
HEADING = f"""
{"":40}{"covers (a), % of suites":>29}{"covers (b)":>18}{"":8}{"false":>8}
{"baselines  meet  alike  noise  inconclusive":40}{"Wilson":>10}{"usual":>8}{"range":>8}{"Wilson":>10}{"range":>8}\
{"width":>8}{"passes":>8}"""


@dataclass(frozen=True)
class Setting:
    """A population of tasks, and how noisy measuring is."""

    baselines: int
    rate: float  # true share of tasks that are met
    alike: float  # correlation of the margins of two tasks of one baseline
    noise: float  # standard deviation of the logarithm of one call's seconds


@dataclass(frozen=True)
class Suites:
    """Many suites of one setting, (suites, baselines) each."""

    tasks: Values
    passed: Values
    inconclusive: Values
    met: Values
    false_passes: Values


@dataclass(frozen=True)
class Row:
    """Shares of the suites, and means over them. (a): the population's rate; (b): the suite's own share."""

    inconclusive: float
    wilson_a: float
    usual_a: float
    range_a: float
    wilson_b: float
    range_b: float
    width: float
    false_passes: float

    @property
    def sound(self) -> bool:
        """Whether the range's interval holds both often enough, and the bound of false passes is kept."""
        return min(self.range_a, self.range_b) >= NEEDED and self.false_passes <= BOUND


GRID = [Setting(*values) for values in product((12, 40, 150), (0.1, 0.3, 0.6), (0.1, 0.3), (0.01, 0.05))]
# Few tasks are met, and most of those belong to few baselines, of which a suite may have drawn none.
BEYOND = [Setting(*values) for values in product((12, 40), (0.02, 0.05), (0.4, 0.6), (0.01,))]


def draw_sizes(baselines: int, suites: int, random: Random) -> npt.NDArray[np.int64]:
    """Log-normal shares of all tasks, and at least one task a baseline. (suites, baselines)"""
    weights = np.exp(SIZES * random.standard_normal((suites, baselines)))
    return 1 + random.multinomial(TASKS - baselines, weights / weights.sum(axis=1, keepdims=True))


def draw(setting: Setting, suites: int, random: Random) -> Suites:
    """Suites of a setting, measured and judged."""
    sizes = draw_sizes(setting.baselines, suites, random)
    baseline = np.repeat(np.arange(sizes.size), sizes.ravel()).reshape(suites, TASKS)  # numbered through all suites
    shared = random.standard_normal(sizes.size)[baseline]
    own = random.standard_normal(baseline.shape)
    margins = MARGINS * (ndtri(setting.rate) + math.sqrt(setting.alike) * shared + math.sqrt(1 - setting.alike) * own)
    passes, fails = judge(margins, setting.noise, random)

    def count(flags: Flags) -> Values:
        return np.bincount(baseline[flags], minlength=sizes.size).reshape(sizes.shape).astype(np.float64)

    met = margins >= 0
    return Suites(sizes.astype(np.float64), count(passes), count(~passes & ~fails), count(met), count(passes & ~met))


def judge(margins: Values, noise: float, random: Random) -> tuple[Flags, Flags]:
    """Whether each task passes, and whether it fails, by Student's t interval of its log ratios."""
    error = noise * math.sqrt(2 / BATCHES)
    estimate = margins + error * random.standard_normal(margins.shape)
    estimated_error = error * np.sqrt(random.chisquare(BATCHES - 1, margins.shape) / (BATCHES - 1))
    half = stdtrit(BATCHES - 1, (1 + CONFIDENCE) / 2) * estimated_error
    return estimate - half >= 0, estimate + half < 0


def wilson(passed: Values) -> Ends:
    """Wilson's interval (JASA 22, 1927) of PASS / 604, which takes INCONCLUSIVE for not met. passed: (suites,)"""
    z = ndtri((1 + CONFIDENCE) / 2)
    rate = passed / TASKS
    centre = (rate + z**2 / 2 / TASKS) / (1 + z**2 / TASKS)
    half = z / (1 + z**2 / TASKS) * np.sqrt(rate * (1 - rate) / TASKS + z**2 / 4 / TASKS**2)
    return centre - half, centre + half


def usual(suites: Suites) -> Ends:
    """The range with the usual cluster-robust ends: the factor B / (B - 1), and Student's t with B - 1 degrees."""
    baselines = suites.tasks.shape[1]
    rates, errors = [], []
    for met in (suites.passed, suites.passed + suites.inconclusive):
        rate = met.sum(axis=1) / TASKS
        residuals = (met - rate[:, None] * suites.tasks) / TASKS
        rates.append(rate)
        errors.append(np.sqrt(baselines / (baselines - 1) * (residuals**2).sum(axis=1)))
    spread = np.maximum(*errors)
    width = np.divide(rates[1] - rates[0], spread, out=np.zeros_like(spread), where=spread > 0)
    freedom = np.full_like(width, baselines - 1)
    critical = -stdtrit(freedom, error_of_an_end(width, freedom, CONFIDENCE))
    return rates[0] - critical * errors[0], rates[1] + critical * errors[1]


def holds(ends: Ends, truth: float | Values) -> float:
    """The share of suites in which the truth lies between the ends."""
    low, high = ends
    return float(((low <= truth) & (truth <= high)).mean())


def coverage(setting: Setting, runs: int, random: Random) -> Row:
    """What becomes of so many suites of one setting."""
    suites = draw(setting, runs, random)
    today, old = wilson(suites.passed.sum(axis=1)), usual(suites)
    ends = rate_interval(suites.tasks, suites.passed, suites.inconclusive, CONFIDENCE)
    own = suites.met.sum(axis=1) / TASKS
    return Row(
        inconclusive=float(suites.inconclusive.sum(axis=1).mean()) / TASKS,
        wilson_a=holds(today, setting.rate),
        usual_a=holds(old, setting.rate),
        range_a=holds(ends, setting.rate),
        wilson_b=holds(today, own),
        range_b=holds(ends, own),
        width=float((ends[1] - ends[0]).mean()),
        false_passes=float(suites.false_passes.sum(axis=1).mean()),
    )


def false_passes_at_the_limit(noise: float, runs: int, random: Random) -> float:
    """The mean number of false passes of a suite whose tasks all miss their requirement, by as little as can be."""
    passes, _ = judge(np.full((runs, TASKS), math.log(SHORTFALL)), noise, random)
    return float(passes.sum(axis=1).mean())


def print_rows(title: str, settings: Iterable[Setting], runs: int, random: Random) -> list[Row]:
    """Print a line a setting, and return them."""
    print(f"\n{title}\n{HEADING}")
    rows = []
    for setting in settings:
        row = coverage(setting, runs, random)
        rows.append(row)
        print(
            f"{setting.baselines:9}{setting.rate:6.0%}{setting.alike:7.1f}{setting.noise:7.0%}{row.inconclusive:11.1%}"
            f"{100 * row.wilson_a:10.1f}{100 * row.usual_a:8.1f}{100 * row.range_a:8.1f}{100 * row.wilson_b:10.1f}"
            f"{100 * row.range_b:8.1f}{100 * row.width:8.1f}{row.false_passes:8.2f}",
            flush=True,
        )
    return rows


def main(suites: Annotated[int, typer.Option(help="of every setting")] = 2_000) -> None:
    """Prints how often the intervals of a pass rate hold the truth."""
    random = np.random.default_rng(0)
    print(f"{suites} suites of {TASKS} tasks of every setting, with intervals of {CONFIDENCE:.0%}.")
    print(
        "(a): the population's true pass rate. (b): the share of a suite's own tasks that truly meet their requirement."
    )
    print("Wilson: of PASS / 604, as before. usual: cluster-robust, factor B / (B - 1), B - 1 degrees of freedom.")
    print("range: what diffharness reports; its mean width is in points of per cent.")
    covered = print_rows("What is covered", GRID, suites, random)
    print_rows(
        "What is not covered: few tasks are met, and most of them belong to few baselines", BEYOND, suites, random
    )
    at_limit = false_passes_at_the_limit(0.05, suites, random)
    print(f"\nFalse passes of a suite: at most {BOUND:.1f} are expected, whatever the suite.")
    print(f"If all tasks are 0.1% short of their requirement, at a noise of 5%: {at_limit:.1f}.")
    if not all(row.sound for row in covered):
        raise SystemExit(f"a pass rate holds the truth in less than {NEEDED:.0%} of the suites")


if __name__ == "__main__":
    typer.run(main)
