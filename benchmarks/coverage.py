"""How often the intervals miss the truth although they are looked at after every batch, by simulation.

    python benchmarks/coverage.py

Runs of at most 6 to 32 batches are drawn under many kinds of noise, and looked at as `diffharness run` does: after
every batch from the fourth on. Counted are the runs in which the interval misses the truth at any look, those in which
it does at the look where measuring stops, and those in which a candidate passes that is just short of its requirement.
Exits with 1 where more of them do than a confidence of 95% allows. One core needs about ten seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from scipy.special import stdtrit  # type: ignore[import-untyped]

from harness import stats

Random = np.random.Generator
Values = npt.NDArray[np.float64]  # (runs, turns), (runs, batches) or (runs, looks)
Flags = npt.NDArray[np.bool_]
# Logarithms of how much longer the calls take than they should, (runs, turns) in the order of time. The flags say
# which are the candidate's; the number is the standard deviation of what is independent from call to call.
Noise = Callable[[Random, Flags, float], Values]

CONFIDENCE = 0.95
PLANNED = (6, 8, 16, 32)
SPREADS = (0.005, 0.02, 0.05, 0.15)
SHORTFALL = 0.999  # the true speedup, as a share of the required one
HALF_WIDTH = 0.02  # relative: narrow enough to stop
SLOWER = 1.5  # seen on a host whose CPUs have busy neighbours
SPIKES = 0.05  # of the calls
MEAN_LOG_SPIKE = float(np.diff([x * math.log(x) - x for x in (1.5, 3.0)])[0] / 1.5)


def independent(random: Random, candidate: Flags, spread: float) -> Values:
    """Log-normal."""
    return spread * random.standard_normal(candidate.shape)


def heavy_tailed(random: Random, candidate: Flags, spread: float) -> Values:
    """Student's t of 3 degrees of freedom, of this standard deviation."""
    return spread / math.sqrt(3) * random.standard_t(3, candidate.shape)


def spiked(random: Random, candidate: Flags, spread: float) -> Values:
    """Some calls, of either side, take 1.5 to 3 times as long."""
    hit = random.random(candidate.shape) < SPIKES
    return independent(random, candidate, spread) + hit * np.log(random.uniform(1.5, 3, candidate.shape))


def autocorrelated(random: Random, candidate: Flags, spread: float, rho: float) -> Values:
    """The machine's speed, of a correlation that falls by rho a turn: AR(1)."""
    noise = random.standard_normal(candidate.shape)
    for turn in range(1, noise.shape[1]):
        noise[:, turn] = rho * noise[:, turn - 1] + math.sqrt(1 - rho**2) * noise[:, turn]
    return spread * noise


def slow_phases(random: Random, candidate: Flags, spread: float) -> Values:
    """A machine of two speeds; it keeps each for 4 turns on average."""
    changes = random.random(candidate.shape) < 1 / 4
    changes[:, 0] = random.random(len(changes)) < 1 / 2
    slow = changes.cumsum(axis=1) % 2
    return independent(random, candidate, spread) + slow * math.log(SLOWER)


def drifting(random: Random, candidate: Flags, spread: float) -> Values:
    """The machine becomes 10% slower over the run."""
    return independent(random, candidate, spread) + np.linspace(0, math.log(1.1), candidate.shape[1])


def wandering(random: Random, candidate: Flags, spread: float) -> Values:
    """The machine's speed walks at random, by `spread` a turn."""
    return independent(random, candidate, spread).cumsum(axis=1)


def unequal(random: Random, candidate: Flags, spread: float) -> Values:
    """The candidate varies five times as much as the baseline, whose standard deviation is `spread`."""
    return independent(random, candidate, spread) * np.where(candidate, 5, 1)


def candidate_spiked(random: Random, candidate: Flags, spread: float) -> Values:
    """Spikes of the candidate alone: its mean time is far from what most of its calls take."""
    hit = (random.random(candidate.shape) < SPIKES) & candidate
    spikes = hit * np.log(random.uniform(1.5, 3, candidate.shape)) - candidate * SPIKES * MEAN_LOG_SPIKE
    return independent(random, candidate, spread) + spikes


def resonant(random: Random, candidate: Flags, spread: float) -> Values:
    """Something slows the machine by 10% with a period of exactly one block of four turns."""
    phase = random.uniform(0, 2 * math.pi, (len(candidate), 1))
    rhythm = 0.05 * np.sin(math.pi / 2 * np.arange(candidate.shape[1]) + phase)
    return independent(random, candidate, spread) + rhythm


KINDS: dict[str, tuple[Noise, Sequence[float]]] = {
    "independent": (independent, SPREADS),
    "heavy tails": (heavy_tailed, SPREADS),
    "spikes on either side": (spiked, SPREADS),
    "AR(1), rho 0.3": (partial(autocorrelated, rho=0.3), SPREADS),
    "AR(1), rho 0.5": (partial(autocorrelated, rho=0.5), SPREADS),
    "AR(1), rho 0.7": (partial(autocorrelated, rho=0.7), SPREADS),
    "AR(1), rho 0.95": (partial(autocorrelated, rho=0.95), SPREADS),
    "slow phases": (slow_phases, SPREADS),
    "drift": (drifting, SPREADS),
    "random walk": (wandering, SPREADS),
    "unequal sides": (unequal, [0.02]),
}
BEYOND: dict[str, tuple[Noise, Sequence[float]]] = {
    "candidate's own spikes": (candidate_spiked, [0.005, 0.05]),
    "rhythm of 4 turns": (resonant, [0.005, 0.05]),
}
TIMES: dict[str, tuple[Noise, Sequence[float]]] = {
    name: (KINDS[name][0], [0.05]) for name in ("independent", "AR(1), rho 0.7", "slow phases")
}

IMAGES = 4  # a batch
LOSS_LIMIT = 0.05
Losses = Callable[[Random, tuple[int, ...]], Values]
LOSSES: dict[str, Losses] = {  # of an image's score, less their mean; the standard deviation is 1
    "normal": lambda random, shape: random.standard_normal(shape),
    "skewness 1 (gamma)": lambda random, shape: (random.standard_gamma(4, shape) - 4) / 2,
    "skewness 2 (exponential)": lambda random, shape: random.standard_exponential(shape) - 1,
    "skewness -2": lambda random, shape: 1 - random.standard_exponential(shape),
    "one image in 10 loses 3.3": lambda random, shape: np.where(random.random(shape) < 0.1, 3, -1 / 3),
}


def order(random: Random, runs: int, batches: int) -> Flags:
    """Whether the candidate has the first turn, (runs, batches): a coin a block of two, A B B A or B A A B."""
    coins = random.random((runs, (batches + 1) // 2)) < 0.5
    return np.stack([coins, ~coins], axis=2).reshape(runs, -1)[:, :batches]


def turns_of_candidate(candidate_first: Flags) -> Flags:
    """(runs, turns) from (runs, batches): each batch is a turn of either side."""
    return np.stack([candidate_first, ~candidate_first], axis=2).reshape(len(candidate_first), -1)


def log_ratios(noise: Noise, spread: float, runs: int, batches: int, random: Random) -> Values:
    """(runs, batches): log(baseline / candidate) less its true value."""
    candidate_first = order(random, runs, batches)
    turns = noise(random, turns_of_candidate(candidate_first), spread)
    first, second = turns[:, ::2], turns[:, 1::2]
    return np.where(candidate_first, second - first, first - second)


@cache
def quantiles(planned: int, images: int = 1) -> Values:
    """Student's t at every look, of so many observations a batch. (looks,)"""
    looks = range(stats.FIRST_LOOK, planned + 1)
    levels = [stats.confidence_at_look(look, planned, CONFIDENCE) or 0.0 for look in looks]
    return np.array([stdtrit(look * images - 1, (1 + level) / 2) for look, level in zip(looks, levels, strict=True)])


def students(values: Values) -> tuple[Values, Values]:
    """Mean and half width of its interval at every look, (runs, looks) each. values: (runs, batches)."""
    batches = np.arange(1, values.shape[1] + 1)
    mean = values.cumsum(axis=1) / batches
    squares = np.maximum((values**2).cumsum(axis=1) - batches * mean**2, 0)
    looks = slice(stats.FIRST_LOOK - 1, None)
    error = np.sqrt(squares[:, looks] / (batches[looks] - 1) / batches[looks])
    return mean[:, looks], quantiles(len(batches)) * error


def speedups(ratios: Values) -> tuple[Values, Values]:
    """Centre and half width of the logarithm at every look: `stats.speedup` for many runs at once."""
    centre, half = students(ratios)
    return centre, half * stats.TURNS_FACTOR


@dataclass(frozen=True)
class Shares:
    """Shares of the runs, and the mean number of batches until measuring stops."""

    missed: float
    missed_at_stop: float
    wrongly_passed: float
    batches: float

    @property
    def sound(self) -> bool:
        """Whether the confidence is kept; a wrong pass is a miss on one of two sides."""
        return max(self.missed, self.missed_at_stop, 2 * self.wrongly_passed) <= 1 - CONFIDENCE


def count(missed: Flags, passes: Flags, stops: Flags) -> Shares:
    """What becomes of runs that end at the first look that stops, or at the last. (runs, looks) each."""
    stops = stops.copy()
    stops[:, -1] = True
    at = stops.argmax(axis=1)
    runs = np.arange(len(at))
    return Shares(
        missed=float(missed.any(axis=1).mean()),
        missed_at_stop=float(missed[runs, at].mean()),
        wrongly_passed=float(passes[runs, at].mean()),
        batches=float(at.mean()) + stats.FIRST_LOOK,
    )


def speedup_shares(noise: Noise, spread: float, planned: int, runs: int, random: Random) -> Shares:
    """Of a candidate that is just below the speedup that is required of it."""
    centre, half = speedups(log_ratios(noise, spread, runs, planned, random))
    required = -math.log(SHORTFALL)
    passes = centre - half >= required
    stops = passes | (centre + half < required) | (np.sinh(half) <= HALF_WIDTH)
    return count(np.abs(centre) > half, passes, stops)


def loss_shares(draw: Losses, planned: int, runs: int, random: Random) -> Shares:
    """Of a candidate whose relative loss is just above the limit; scores of 30 with a standard deviation of 3."""
    truth = LOSS_LIMIT / SHORTFALL
    baseline = random.normal(30, 3, (runs, planned * IMAGES))
    losses = 30 * truth + draw(random, baseline.shape)
    images = np.arange(stats.FIRST_LOOK, planned + 1) * IMAGES

    def mean(values: Values) -> Values:
        return values.cumsum(axis=1)[:, images - 1] / images

    ratio = mean(losses) / mean(baseline)
    squares = mean(losses**2) - 2 * ratio * mean(losses * baseline) + ratio**2 * mean(baseline**2)
    half = quantiles(planned, IMAGES) * np.sqrt(squares / (images - 1)) / mean(baseline)
    passes = ratio + half <= LOSS_LIMIT
    return count(np.abs(ratio - truth) > half, passes, passes | (ratio - half > LOSS_LIMIT))


def seconds_shares(noise: Noise, spread: float, planned: int, runs: int, random: Random) -> Shares:
    """Of a candidate that takes just longer than it may. Its calls lie between the baseline's; nothing is paired."""
    candidate_first = order(random, runs, planned)
    candidate = turns_of_candidate(candidate_first)
    seconds = np.exp(noise(random, candidate, spread))
    truth = seconds.mean()
    centre, half = students(seconds[candidate].reshape(runs, planned))
    limit = truth * SHORTFALL
    passes = centre + half <= limit
    return count(np.abs(centre - truth) > half, passes, passes | (centre - half > limit))


def print_table(title: str, rows: dict[str, list[Shares]]) -> None:
    """A line a kind of noise; four figures for every number of planned batches."""
    print(f"\n{title}\n")
    print(f"{'':30}" + "".join(f"{f'at most {planned} batches':>24}" for planned in PLANNED))
    print(f"{'noise, standard deviation':30}" + "   any  stop  pass  mean" * len(PLANNED))
    for name, cells in rows.items():
        figures = [
            figure
            for cell in cells
            for figure in (100 * cell.missed, 100 * cell.missed_at_stop, 100 * cell.wrongly_passed, cell.batches)
        ]
        print(f"{name:30}" + "".join(f"{figure:6.1f}" for figure in figures))


def print_quantiles() -> None:
    """Student's t at some looks, beside that of an interval that is looked at once."""
    print("\nStudent's t at a look, and (of a single look at so many batches)\n")
    for planned in PLANNED:
        looks = [look for look in (4, 5, 6, 8, 12, 16, 24, 32) if look <= planned]
        pairs = (
            f"{look}: {quantiles(planned)[look - stats.FIRST_LOOK]:.2f} ({stdtrit(look - 1, (1 + CONFIDENCE) / 2):.2f})"
            for look in looks
        )
        print(f"at most {planned:2} batches  " + "  ".join(pairs))


def named(kinds: Mapping[str, tuple[Noise, Sequence[float]]]) -> dict[str, tuple[Noise, float]]:
    """Every setting by what stands before its line of a table."""
    return {f"{name}, {spread:.1%}": (noise, spread) for name, (noise, all_) in kinds.items() for spread in all_}


def main(runs: Annotated[int, typer.Option(help="of every setting")] = 10_000) -> None:
    """Prints how often the intervals miss the truth."""
    random = np.random.default_rng(0)

    def cells(shares: Callable[..., Shares], *setting: Any) -> list[Shares]:
        return [shares(*setting, planned, runs, random) for planned in PLANNED]

    covered = {name: cells(speedup_shares, *setting) for name, setting in named(KINDS).items()}
    beyond = {name: cells(speedup_shares, *setting) for name, setting in named(BEYOND).items()}
    losses = {name: cells(loss_shares, draw) for name, draw in LOSSES.items()}
    times = {name: cells(seconds_shares, *setting) for name, setting in named(TIMES).items()}
    print(f"{runs} runs of every setting. Per cent of runs in which the interval misses the truth at any look (any);")
    print("at the look where measuring stops (stop); in which a candidate just short of its requirement passes (pass).")
    print("Then the mean number of batches until measuring stops.")
    print_table("Speedup: at most 5.0, 5.0 and 2.5 are allowed", covered)
    print_table("Speedup: what the interval does not cover", beyond)
    print_table(
        f"Quality loss, {IMAGES} images a batch: covered where the losses of single images are not skewed", losses
    )
    print_table("Seconds per image: covered where the machine's speed is independent from batch to batch", times)
    print_quantiles()
    if not all(shares.sound for row in [*covered.values(), losses["normal"]] for shares in row):
        raise SystemExit("an interval misses more often than it may")


if __name__ == "__main__":
    typer.run(main)
