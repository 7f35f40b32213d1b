"""What `benchmarks/coverage.py` simulates: the rows of its tables, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from actors.messages import Layout
from benchmarks.noise import (
    Losses,
    Noise,
    Unsteady,
    candidate_spiked,
    correlated,
    drifting,
    exponential,
    fading,
    heavy_tailed,
    independent,
    lognormal,
    normal,
    phases_of,
    rare,
    resonant,
    spiked,
    step,
    unequal,
    wandering,
)
from harness.records import Reason

SHORT = 1 / 0.999  # required / true: the candidate just fails its requirement
LIMIT = 0.05  # of the quality loss


@dataclass(frozen=True)
class Setting:
    """Pairs of one kind: the machine, the candidate, how they are measured, and what is allowed to go wrong."""

    name: str
    asks: Reason = Reason.SPEEDUP  # whose interval and verdict count
    noise: Noise = independent
    spread: float = 0.01
    planned: int = 16  # judged batches
    layout: Layout = Layout.INTERLEAVED
    required: float = SHORT  # of the asked value, relative to the true one
    half_width: float = 0.02
    # Starts of both processes
    starts: int = 1
    burn_in: int = 3  # batches in turns before the judged ones, in each start
    between: float = 0.0  # standard deviation of a process's log slowness from start to start
    order_effect: float = 0.0  # log of how much slower the process is that was started last
    calibrated: bool = False  # by 8 starts of 8 batches, which every run has anew
    baseline_slow: Unsteady | None = None
    candidate_slow: Unsteady | None = None
    # Scores
    images: int = 1  # of a batch
    losses: Losses | None = None  # None: no image loses anything
    loss: float = 0.0  # their mean
    scores: tuple[float, float] = (30.0, 3.0)  # mean and standard deviation of the baseline's
    largest: float = 0.5  # loss of an image that has nothing to do with its prompt
    bound: bool = True  # evaluation.rare_losses
    # Stretches of the baseline that a latency is taken from
    stretch: int = 1  # calls in each
    pause: int | None = None  # each is a call just before the pair, so many turns after the last; None: at other times
    # Per cent of the runs
    most_missed: float | None = 5.5
    most_passed: float | None = 2.75  # wrong passes are misses on one side
    least_passed: float | None = None


def _quality(name: str, losses: Losses, images: int, **changes: object) -> Setting:
    made = Setting(
        f"{name}, {images} images",
        asks=Reason.QUALITY,
        losses=losses,
        loss=LIMIT,
        images=4 if images > 10 else 1,
        planned=images // 4 if images > 10 else images,
        required=0.75,
        most_missed=None,
        most_passed=3.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


_RARE: Mapping[str, tuple[Losses, float]] = {
    "1 image in 10 loses half": (rare(0.1, 0.5), 0.5),
    "1 image in 6 loses 30%": (rare(1 / 6, 0.3), 0.5),
    "1 image in 20 loses all": (rare(0.05, 1.0), 1.0),
}
_OTHER: Mapping[str, Losses] = {
    "exponential": exponential(0.05),
    "normal, sd 5%": normal(0.05, 0.05),
    "normal, sd 5%, ICC 0.3": normal(0.05, 0.05, 0.3),
}
_POWER: Mapping[str, Losses] = {
    "exponential": exponential(0.01),
    "normal, sd 5%": normal(0.01, 0.05),
    "normal, sd 5%, ICC 0.3": normal(0.01, 0.05, 0.3),
}
QUALITY = [
    *(_quality(name, losses, images, largest=w) for images in (64, 128) for name, (losses, w) in _RARE.items()),
    *(_quality(name, losses, images) for images in (64, 128) for name, losses in _OTHER.items()),
    *(_quality("log-normal, skewness 6", lognormal(0.05, 0.989), images, most_passed=5.0) for images in (64, 128)),
    *(_quality(name, losses, 10, largest=w) for name, (losses, w) in _RARE.items()),
    _quality("4 images, 1 in 20 loses all", rare(0.05, 1.0), 4, largest=1.0),
    _quality("baseline's mean 2 standard errors above 0", normal(0.05, 0.2), 64, scores=(1.0, 4.0), most_missed=5.5),
]
POWER = [
    *(
        _quality(f"true loss 1%: {name}", losses, 64, loss=0.01, most_passed=None, least_passed=90.0)
        for name, losses in _POWER.items()
    ),
]
ASSUME_NONE = [
    _quality(f"assume_none: {name}", losses, 64, largest=w, bound=False, most_passed=None)
    for name, (losses, w) in _RARE.items()
]

_KINDS: Mapping[str, tuple[Noise, Sequence[float], Sequence[int]]] = {
    "independent": (independent, (0.005, 0.05, 0.15), (6, 8, 16, 32)),
    "heavy tails": (heavy_tailed, (0.05,), (16,)),
    "spikes on either side": (spiked, (0.05,), (16,)),
    "AR(1), rho 0.3": (correlated(0.3), (0.05,), (16,)),
    "AR(1), rho 0.5": (correlated(0.5), (0.05,), (6, 8, 16, 32)),
    "AR(1), rho 0.7": (correlated(0.7), (0.05,), (16,)),
    "AR(1), rho 0.95": (correlated(0.95), (0.05,), (16,)),
    "slow phases of 4 turns": (phases_of(4), (0.05,), (8, 16, 32)),
    "drift": (drifting, (0.005, 0.05), (16,)),
    "random walk": (wandering, (0.05,), (16,)),
    "unequal sides": (unequal, (0.02,), (16,)),
}
SPEEDUP = [
    Setting(f"{name}, {spread:.1%}, {planned} batches", noise=noise, spread=spread, planned=planned, most_passed=2.5)
    for name, (noise, spreads, sizes) in _KINDS.items()
    for spread in spreads
    for planned in (sizes if spread == 0.05 else (16,))
]
NOT_COVERED = [
    Setting(name, noise=noise, spread=0.05, most_missed=None, most_passed=None)
    for name, noise in {"candidate's own spikes, 5%": candidate_spiked, "rhythm of 4 turns, 5%": resonant}.items()
]


def _starts(name: str, between: float, spread: float, planned: int, starts: int, **changes: object) -> Setting:
    named = f"{between:.1%} at {spread:.0%}, {name}, {starts} x {planned // starts}"
    made = Setting(named, between=between, spread=spread, planned=planned, starts=starts)
    return replace(made, **changes)  # type: ignore[arg-type]


RESTARTS = [
    setting
    for between, spread in ((0.004, 0.01), (0.05, 0.05))
    for setting in (
        *(
            _starts("not known", between, spread, planned, 1, most_missed=None, most_passed=None)
            for planned in (10, 16, 32)
        ),
        *(_starts("calibrated", between, spread, planned, 1, calibrated=True) for planned in (10, 16, 32)),
        _starts("calibrated", between, spread, 16, 4, calibrated=True),
        *(_starts("means of starts", between, spread, planned, starts) for planned, starts in ((24, 12), (48, 12))),
        _starts("means of starts", between, spread, 16, 8),
    )
]
ORDER = [
    *(Setting(f"0.13%, {n} batches", spread=0.005, planned=n, order_effect=0.0013) for n in (16, 32)),
    *(
        Setting(f"0.5%, calibrated, {n} batches", spread=0.005, planned=n, order_effect=0.005, calibrated=True)
        for n in (16, 32)
    ),
    Setting("0.5%, 12 starts x 2", spread=0.005, planned=24, starts=12, order_effect=0.005),
    Setting("0.5%, not known, 16 batches", spread=0.005, order_effect=0.005, most_missed=None, most_passed=None),
]
# What is left of a warm-up is no noise: a miss is nearly always a speedup that looks too large, so a PASS.
WARM_UP = [
    *(
        Setting(
            f"baseline 3% slow for 5 batches, {s:.1%}, {n} batches",
            spread=s,
            planned=n,
            baseline_slow=step(0.03, 5),
            most_passed=5.5,
        )
        for n in (10, 16, 32)
        for s in (0.005, 0.01, 0.02)
    ),
    *(
        Setting(f"candidate 3% slow for 5 batches, 1.0%, {n} batches", planned=n, candidate_slow=step(0.03, 5))
        for n in (10, 16)
    ),
    *(
        Setting(
            f"fading over 3 batches, {s:.1%}, {n} batches, {burn_in} discarded",
            spread=s,
            planned=n,
            baseline_slow=fading(0.03, 3),
            burn_in=burn_in,
            most_missed=None if burn_in < 5 else 5.5,
            most_passed=None if burn_in < 5 else 5.5,
        )
        for n, s in ((10, 0.005), (16, 0.005), (16, 0.01), (32, 0.005))
        for burn_in in (3, 5)
    ),
    Setting(
        "3% slow for 5 batches, 1.0%, 16 batches, none discarded",
        baseline_slow=step(0.03, 5),
        burn_in=0,
        most_missed=None,
        most_passed=None,
    ),
]
_MACHINES: Mapping[str, Noise] = {
    "slow phases of 4 turns": phases_of(4),
    "slow phases of 12 turns": phases_of(12),
    "slow phases of 40 turns": phases_of(40),
    "quiet": independent,
}
LATENCY = [
    *(
        Setting(f"{name}, stretches of {calls}", asks=Reason.LATENCY, noise=noise, spread=0.05, stretch=calls)
        for name, noise in _MACHINES.items()
        for calls in (1, 16)
    ),
    *(
        Setting(f"{name}, in blocks", asks=Reason.LATENCY, noise=noise, spread=0.05, layout=Layout.BLOCKS, planned=24)
        for name, noise in _MACHINES.items()
    ),
    *(
        Setting(
            f"{name}, every {pause} turns before",
            asks=Reason.LATENCY,
            noise=noise,
            spread=0.05,
            pause=pause,
            most_missed=5.5 if pause > 2 else None,
            most_passed=2.75 if pause > 2 else None,
        )
        for name, noise in _MACHINES.items()
        for pause in ((2, 64) if name.endswith("40 turns") else (2,))
    ),
]
BLOCKS = [
    Setting(f"{name}, {planned} batches", noise=noise, spread=0.05, planned=planned, layout=Layout.BLOCKS)
    for planned in (24, 16)
    for name, noise in {
        "slow phases of 4 turns": phases_of(4),
        "slow phases of 12 turns": phases_of(12),
        "AR(1), rho 0.9": correlated(0.9),
        "AR(1), rho 0.95": correlated(0.95),
        "independent": independent,
        "drift": drifting,
    }.items()
]
EFFICIENCY = [
    Setting(
        f"{away:.0%} {way} its requirement, {spread:.0%}, {planned} batches",
        spread=spread,
        planned=planned,
        required=required,
        most_passed=None,
    )
    for spread in (0.01, 0.05)
    for away in (0.02, 0.05)
    for way, required in (("above", 1 / (1 + away)), ("below", 1 + away))
    for planned in (16,)
]

SECTIONS: Mapping[str, Sequence[Setting]] = {
    "quality": [*QUALITY, *POWER, *ASSUME_NONE],
    "speedup": [*SPEEDUP, *NOT_COVERED],
    "restarts": RESTARTS,
    "start-order": ORDER,
    "warm-up": WARM_UP,
    "latency": LATENCY,
    "blocks": BLOCKS,
    "efficiency": EFFICIENCY,
}
