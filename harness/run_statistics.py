"""From the records of all pairs to the statistics of a run. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from actors.messages import Status
from harness.pass_rate import PassRate, pass_rate
from harness.records import PairRecord, Protocol, Verdict
from harness.stats import Interval

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
    pass_rate: PassRate | None  # by the strict verdicts; None of no tasks, and of groups by outcome

    @property
    def passed_share(self) -> float | None:
        """passed / tasks, by the protocol of the records; None of no tasks."""
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
    confidence: of each interval, the smallest of the records; None without records.
    protocol: None without records, or where they differ.
    expected_false_passes: at most so many; None unless the strict protocol judged every record.
    false_coverage_level: see the function of this name.
    intervals_of_a_pair: the most intervals that one measured pair was judged by; 0 where none was measured.
    """

    spent: Spent
    confidence: float | None
    protocol: Protocol | None
    expected_false_passes: float | None
    false_coverage_level: float | None
    intervals_of_a_pair: int
    total: Counts
    by_level: Mapping[str, Counts]
    by_difficulty: Mapping[str, Counts]
    by_method: Mapping[str, Counts]
    by_status: Mapping[str, Counts]
    by_reason: Mapping[str, Counts]

    @property
    def joint_confidence(self) -> float | None:
        """With which all intervals of one pair hold together, whatever their dependence (Bonferroni)."""
        if self.confidence is None:
            return None
        return max(0.0, 1 - self.intervals_of_a_pair * (1 - self.confidence))

    def as_dict(self) -> dict[str, Any]:
        """As run.json has it under `statistics`: all but what was spent."""
        values = {**asdict(self), "joint_confidence": self.joint_confidence}
        del values["spent"]
        return values


def summarise(records: Sequence[PairRecord]) -> Summary:
    """Return the statistics of a run, in which every record counts."""

    def grouped(names: Callable[[PairRecord], Iterable[str]], *, of_outcomes: bool = False) -> dict[str, Counts]:
        groups: dict[str, list[PairRecord]] = {}
        for record in records:
            for name in names(record):
                groups.setdefault(name, []).append(record)
        return {name: _counts(groups[name], with_rate=not of_outcomes) for name in sorted(groups)}

    protocols = {record.protocol for record in records}
    return Summary(
        spent=_spent(records),
        confidence=min((record.confidence for record in records), default=None),
        protocol=protocols.pop() if len(protocols) == 1 else None,
        expected_false_passes=expected_false_passes(records),
        false_coverage_level=false_coverage_level(records),
        intervals_of_a_pair=max(map(_intervals, _measured(records)), default=0),
        total=_counts(records),
        by_level=grouped(lambda record: [NOT_GIVEN if record.level is None else str(record.level)]),
        by_difficulty=grouped(lambda record: [record.difficulty or NOT_GIVEN]),
        by_method=grouped(_methods),
        by_status=grouped(lambda record: [record.status], of_outcomes=True),
        by_reason=grouped(lambda record: [record.reason or "none"], of_outcomes=True),
    )


def expected_false_passes(records: Sequence[PairRecord]) -> float | None:
    """Return how many of the PASS verdicts are expected to be false, at most.

    A PASS needs every interval of a pair on the right side of its limit. So a pair that misses a demand passes only
    if that demand's interval misses the truth on one side, which it does with (1 - confidence) / 2 (Berger,
    Technometrics 24(4), 1982: intersection-union). Expectations add up whatever the dependence between pairs.
    None unless the strict protocol judged every record: the fixed one goes by point values, which bound no error.
    """
    if not records or any(record.protocol is not Protocol.STRICT for record in records):
        return None
    return sum((1 - record.confidence) / 2 for record in _measured(records))


def false_coverage_level(records: Sequence[PairRecord]) -> float | None:
    """Return the confidence at which the intervals of the passed pairs are to be given; None where none passed.

    Passed pairs are a selection: their intervals miss the truth more often than those of all pairs. At
    1 - (1 - confidence) * passed / measured, the expected share of intervals that miss, among those of the passed
    pairs, is at most 1 - confidence (false coverage rate: Benjamini and Yekutieli, JASA 100(469), 2005, theorem 1).
    That is proved for independent estimates, as pairs with prompts and turns of their own nearly are.
    """
    measured = _measured(records)
    passed = sum(record.passed for record in measured)
    if not passed:
        return None
    return 1 - (1 - min(record.confidence for record in measured)) * passed / len(measured)


def fcr_intervals(
    records: Sequence[PairRecord], interval_at: Callable[[PairRecord, float], Interval]
) -> dict[str, Interval]:
    """Return an interval of every passed pair at `false_coverage_level`, by prompt id.

    interval_at: computes the interval of a pair's figure at a joint confidence from its stored batches
    (`ResultSet.measurements`), since a record has its interval at one confidence only.
    """
    level = false_coverage_level(records)
    if level is None:
        return {}
    return {record.prompt_id: interval_at(record, level) for record in records if record.passed}


def _measured(records: Sequence[PairRecord]) -> list[PairRecord]:
    return [record for record in records if record.status is Status.MEASURED]


def _intervals(record: PairRecord) -> int:
    """How many intervals a measured pair is judged by: the quality loss always, then what its task requires."""
    return 1 + (record.req_speedup is not None) + (record.req_latency_s is not None)


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


def _counts(records: Sequence[PairRecord], *, with_rate: bool = True) -> Counts:
    rates = [record.achievement_rate for record in records if record.achievement_rate is not None]
    return Counts(
        tasks=len(records),
        passed=sum(record.verdict is Verdict.PASS for record in records),
        failed=sum(record.verdict is Verdict.FAIL for record in records),
        inconclusive=sum(record.verdict is Verdict.INCONCLUSIVE for record in records),
        protocols_differ=sum(record.strict_verdict is not record.fixed_verdict for record in records),
        achievement_known=len(rates),
        mean_achievement_rate=sum(rates) / len(rates) if rates else None,
        pass_rate=_pass_rate(records) if with_rate and records else None,
    )


def _pass_rate(records: Sequence[PairRecord]) -> PassRate:
    """By the strict verdicts in either protocol: verdicts by point values say nothing of what is truly met."""
    clusters: dict[tuple[str, str], list[Verdict]] = {}
    for record in records:
        clusters.setdefault(_cluster(record), []).append(record.strict_verdict)
    verdicts = clusters.values()
    return pass_rate(
        tasks=[len(cluster) for cluster in verdicts],
        passed=[cluster.count(Verdict.PASS) for cluster in verdicts],
        inconclusive=[cluster.count(Verdict.INCONCLUSIVE) for cluster in verdicts],
        confidence=min(record.confidence for record in records),
    )


def _cluster(record: PairRecord) -> tuple[str, str]:
    """The baseline of a pair, whose tasks are alike; a pair without one is a cluster of its own."""
    if record.baseline_sha256 is not None:
        return "sha256", record.baseline_sha256
    if record.baseline_file is not None:
        return "file", record.baseline_file
    return "pair", record.prompt_id
