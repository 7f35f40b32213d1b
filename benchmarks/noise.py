"""What machines do to calls, and candidates to scores: random draws for `benchmarks/coverage.py`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

Random = np.random.Generator
Values = npt.NDArray[np.float64]  # (runs, turns) or (runs, images)
Flags = npt.NDArray[np.bool_]
# Logarithms of how much longer the calls take than they should, (runs, turns) in the order of time. The flags say
# which are the candidate's; the number is the standard deviation of what is independent from call to call.
Noise = Callable[[Random, Flags, float], Values]
# What each image loses as a share of its score, (runs, images). The number is that of the images in a batch.
Losses = Callable[[Random, tuple[int, int], int], Values]
Unsteady = Callable[[Values], Values]  # log slowness of the calls of a process, by their number since its start

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


def slow_phases(random: Random, candidate: Flags, spread: float, turns: float = 4) -> Values:
    """A machine of two speeds; it keeps each for so many turns on average."""
    changes = random.random(candidate.shape) < 1 / turns
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
    """Something slows the machine by 10% with a period of exactly four turns."""
    phase = random.uniform(0, 2 * math.pi, (len(candidate), 1))
    rhythm = 0.05 * np.sin(math.pi / 2 * np.arange(candidate.shape[1]) + phase)
    return independent(random, candidate, spread) + rhythm


def phases_of(turns: float) -> Noise:
    """Slow phases of so many turns on average."""
    return partial(slow_phases, turns=turns)


def correlated(rho: float) -> Noise:
    """AR(1)."""
    return partial(autocorrelated, rho=rho)


def mean_slowness(noise: Noise, spread: float) -> float:
    """By which factor a call takes longer on average, of `independent` and `slow_phases` noise."""
    phases = getattr(noise, "func", noise) is slow_phases
    return math.exp(spread**2 / 2) * ((1 + SLOWER) / 2 if phases else 1.0)


def step(size: float, calls: int) -> Unsteady:
    """So much slower in the first calls, counted from the first one in turns."""
    return lambda number: size * (number < calls)


def fading(size: float, calls: float) -> Unsteady:
    """Slower at first, which fades exponentially: after so many calls a factor of e is left."""
    return lambda number: size * np.exp(-number / calls)


def rare(share: float, loss: float) -> Losses:
    """This share of the images loses so much, all others nothing."""
    return lambda random, shape, batch: loss * (random.random(shape) < share)


def exponential(mean: float) -> Losses:
    """Skewness 2."""
    return lambda random, shape, batch: mean * random.standard_exponential(shape)


def lognormal(mean: float, sigma: float) -> Losses:
    """Of this standard deviation of the logarithm: a skewness of 6 at 0.989."""
    return lambda random, shape, batch: mean * np.exp(sigma * random.standard_normal(shape) - sigma**2 / 2)


def normal(mean: float, spread: float, icc: float = 0.0) -> Losses:
    """Of this standard deviation, and this correlation of the images of a batch."""

    def draw(random: Random, shape: tuple[int, int], batch: int) -> Values:
        of_batch = np.repeat(random.standard_normal((shape[0], shape[1] // batch)), batch, axis=1)
        return mean + spread * (math.sqrt(icc) * of_batch + math.sqrt(1 - icc) * random.standard_normal(shape))

    return draw
