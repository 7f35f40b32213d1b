"""From the records of all pairs to the statistics of a run. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from actors.messages import Status
from harness.records import PairRecord, Verdict

NOT_GIVEN = "not given"  # the group of tasks without a level, or without a difficulty


@dataclass(frozen=True)
class Counts:
    """How a group of pairs came out; what failed is part of `tasks` like all others."""

    tasks: int
    passed: int
    failed: int
    inconclusive: int
    protocols_differ: int  # pairs whose verdict the strict and the fixed protocol disagree on
    achievement_known: int  # hard tasks with an achievement rate
    mean_achievement_rate: float | None  # of those; None where there are none

    @property
    def pass_rate(self) -> float | None:
        """passed / tasks; None of no tasks."""
        return self.passed / self.tasks if self.tasks else None


@dataclass(frozen=True)
class Spent:
    """What the actors' time of a run went into. Seconds, over all actors."""

    actors_s: float  # from an actor's first pair to the end of its last one
    useful_s: float  # of that in warm-up calls and judged calls
    verdicts: int  # measured pairs with a verdict other than INCONCLUSIVE
    devices: Mapping[str, int]  # name of a GPU or CPU -> pairs on it
    launch_bound: int  # pairs whose baseline is bound by the launches of its kernels
    marked: int  # judged batches that the machine disturbed

    @property
    def useful_share(self) -> float | None:
        """useful_s / actors_s; None where no pair was run."""
        return self.useful_s / self.actors_s if self.actors_s else None

    @property
    def seconds_per_verdict(self) -> float | None:
        """actors_s / verdicts; None without one."""
        return self.actors_s / self.verdicts if self.verdicts else None

    def as_dict(self) -> dict[str, Any]:
        """As run.json has it."""
        ratios = {"useful_share": self.useful_share, "seconds_per_verdict": self.seconds_per_verdict}
        return {**asdict(self), **ratios}


@dataclass(frozen=True)
class Summary:
    """The statistics of a run: of all its pairs, and of groups of them by the group's name.

    A pair whose candidate has two methods counts in both groups.
    """

    spent: Spent
    total: Counts
    by_level: Mapping[str, Counts]
    by_difficulty: Mapping[str, Counts]
    by_method: Mapping[str, Counts]
    by_status: Mapping[str, Counts]
    by_reason: Mapping[str, Counts]


def summarise(records: Sequence[PairRecord]) -> Summary:
    """The statistics of a run, in which every record counts."""

    def grouped(names: Callable[[PairRecord], Iterable[str]]) -> dict[str, Counts]:
        groups: dict[str, list[PairRecord]] = {}
        for record in records:
            for name in names(record):
                groups.setdefault(name, []).append(record)
        return {name: _counts(groups[name]) for name in sorted(groups)}

    return Summary(
        spent=_spent(records),
        total=_counts(records),
        by_level=grouped(lambda record: [NOT_GIVEN if record.level is None else str(record.level)]),
        by_difficulty=grouped(lambda record: [record.difficulty or NOT_GIVEN]),
        by_method=grouped(_methods),
        by_status=grouped(lambda record: [record.status]),
        by_reason=grouped(lambda record: [record.reason or "none"]),
    )


def _spent(records: Sequence[PairRecord]) -> Spent:
    useful = 0.0
    for record in records:
        useful += record.timed_s + sum(record.candidate_warmup_s or ())
        useful += 0.0 if record.baseline_warm_from_before else sum(record.baseline_warmup_s or ())
    return Spent(
        actors_s=sum(record.wall_s + record.idle_s for record in records),
        useful_s=useful,
        verdicts=sum(r.status is Status.MEASURED and r.verdict is not Verdict.INCONCLUSIVE for r in records),
        devices=dict(Counter(record.device for record in records if record.device is not None)),
        launch_bound=sum(record.launch_bound is True for record in records),
        marked=sum(record.batches_marked for record in records),
    )


def _methods(record: PairRecord) -> Iterable[str]:
    if record.candidate_methods is None:
        return ["not known"]
    return dict.fromkeys(record.candidate_methods) or ["none"]


def _counts(records: Sequence[PairRecord]) -> Counts:
    rates = [record.achievement_rate for record in records if record.achievement_rate is not None]
    return Counts(
        tasks=len(records),
        passed=sum(record.verdict is Verdict.PASS for record in records),
        failed=sum(record.verdict is Verdict.FAIL for record in records),
        inconclusive=sum(record.verdict is Verdict.INCONCLUSIVE for record in records),
        protocols_differ=sum(record.strict_verdict is not record.fixed_verdict for record in records),
        achievement_known=len(rates),
        mean_achievement_rate=sum(rates) / len(rates) if rates else None,
    )
