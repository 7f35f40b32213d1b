"""From what was measured of a pair to its verdict.

Pure: a stored record can be judged again with other limits, without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

from actors.messages import Status
from harness import stats
from harness.figures import design_of
from harness.records import Demands, Figures, PairFacts, PairRecord, Protocol, RareLosses, Reason, Verdict
from harness.stats import Interval

NOT_THE_CANDIDATES_FAULT = frozenset({Status.MISSING_TASK, Status.BASELINE_FAILED, Status.INFRASTRUCTURE})
Part = TypeVar("Part", Figures, Demands)
NO_INTERVAL = "there is no interval yet, more batches are needed"


@dataclass(frozen=True)
class Criteria:
    """What pairs are judged by. `max_quality_loss` is a fraction; a task's own limit goes before it."""

    protocol: Protocol
    max_quality_loss: float


@dataclass(frozen=True)
class Judgement:
    """The verdict of one pair. `detail` is a sentence with the numbers behind it.

    achievement_rate: of a hard task, min(1, reached / required) by point values; 0 where the loss is above
    the limit or the pair was not measured; None where the task is not hard, or one of the two is not known.
    max_quality_loss: the limit that was applied, as a fraction.
    """

    verdict: Verdict
    reason: Reason | None
    detail: str
    achievement_rate: float | None
    max_quality_loss: float


@dataclass(frozen=True)
class _Finding:
    verdict: Verdict
    reason: Reason
    sentence: str


@dataclass(frozen=True)
class _Scale:
    """How one figure is compared and written. The phrases are for PASS, FAIL and INCONCLUSIVE."""

    name: str
    at_least: bool
    phrases: Mapping[Verdict, str]
    factor: float  # from the value to what is written
    unit: str
    decimals: int


def _phrases(holds: str, fails: str, doubt: str) -> dict[Verdict, str]:
    return {Verdict.PASS: holds, Verdict.FAIL: fails, Verdict.INCONCLUSIVE: doubt}


_QUALITY_PHRASES = _phrases("is within the limit of", "is above the limit of", "is not clearly within the limit of")
_SPEEDUP_PHRASES = _phrases("reaches the required", "is below the required", "is not clearly above the required")
_LATENCY_PHRASES = _phrases("is within the required", "is above the required", "is not clearly within the required")
_SCALES = {
    Reason.QUALITY: _Scale("quality loss", False, _QUALITY_PHRASES, factor=100.0, unit="%", decimals=1),
    Reason.SPEEDUP: _Scale("speedup", True, _SPEEDUP_PHRASES, factor=1.0, unit="x", decimals=2),
    Reason.LATENCY: _Scale("time per image", False, _LATENCY_PHRASES, factor=1.0, unit=" s", decimals=3),
}


def judge(pair: PairFacts, criteria: Criteria) -> Judgement:
    """The verdict of one pair.

    A demand that is surely missed is a FAIL, whatever else is in doubt; then one in doubt is INCONCLUSIVE.
    Of several the first is named: quality, speedup, latency. Under the strict protocol sure means the whole
    interval, under the fixed one the point value (of the speedup: mean over mean).
    """
    demands = _part(Demands, pair)
    limit = limit_of(demands, criteria)
    if pair.status is not Status.MEASURED:
        verdict, reason = _unmeasured(pair.status)
        detail = pair.detail or f"the pair ended with the status {pair.status}"
        return Judgement(verdict, reason, detail, 0.0 if pair.difficulty == "hard" else None, limit)
    findings = _findings(_part(Figures, pair), demands, limit, criteria.protocol)
    if criteria.protocol is Protocol.STRICT:
        findings = [_with_rare_losses(finding, pair, limit) for finding in findings]
    achieved = _achievement_rate(pair, limit, criteria.protocol)
    decisive = _decisive(findings)
    if decisive is not None:
        return Judgement(decisive.verdict, decisive.reason, decisive.sentence, achieved, limit)
    sentences = [finding.sentence for finding in findings]
    if len(findings) == 1:
        sentences.append("no speedup or latency is required")
    return Judgement(Verdict.PASS, None, "; ".join(sentences), achieved, limit)


def so_far(figures: Figures, demands: Demands, criteria: Criteria) -> dict[Reason, Verdict]:
    """What each demand on a pair comes to while it is still being measured."""
    findings = _findings(figures, demands, limit_of(demands, criteria), criteria.protocol)
    return {finding.reason: finding.verdict for finding in findings}


def judged(pair: PairFacts, criteria: Criteria) -> PairRecord:
    """The record of what is known of a pair; a record is judged again by other criteria."""
    judgement = judge(pair, criteria)
    strict = judge(pair, replace(criteria, protocol=Protocol.STRICT))
    fixed = judge(pair, replace(criteria, protocol=Protocol.FIXED))
    facts = {field.name: getattr(pair, field.name) for field in fields(PairFacts)}
    return PairRecord(
        **{**facts, "detail": judgement.detail},
        protocol=criteria.protocol,
        max_quality_loss=judgement.max_quality_loss,
        verdict=judgement.verdict,
        passed=judgement.verdict is Verdict.PASS,
        reason=judgement.reason,
        achievement_rate=judgement.achievement_rate,
        strict_verdict=strict.verdict,
        strict_reason=strict.reason,
        fixed_verdict=fixed.verdict,
        fixed_reason=fixed.reason,
    )


def _unmeasured(status: Status) -> tuple[Verdict, Reason]:
    if status is Status.CONFIG_MISMATCH:
        return Verdict.FAIL, Reason.CONFIG
    if status is Status.REJECTED:
        return Verdict.FAIL, Reason.INTEGRITY
    if status in NOT_THE_CANDIDATES_FAULT:
        return Verdict.INCONCLUSIVE, Reason.ERROR
    return Verdict.FAIL, Reason.ERROR


def _reached_speedup(pair: PairFacts | Figures, protocol: Protocol) -> float | None:
    return pair.speedup if protocol == Protocol.STRICT else pair.speedup_mean_over_mean


def _part(part: type[Part], pair: PairFacts) -> Part:
    return part(**{field.name: getattr(pair, field.name) for field in fields(part)})


def limit_of(demands: Demands, criteria: Criteria) -> float:
    """The largest quality loss that a pair may have: the task's own limit, else that of the criteria."""
    own = demands.req_max_quality_loss
    return criteria.max_quality_loss if own is None else own


def _decisive(findings: Sequence[_Finding]) -> _Finding | None:
    """The first sure miss, else the first doubt; None where every demand is surely met."""
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        for finding in findings:
            if finding.verdict is verdict:
                return finding
    return None


def _findings(pair: Figures, demands: Demands, limit: float, protocol: Protocol) -> list[_Finding]:
    """What each demand on a measured pair comes to, the weightiest first."""
    loss = _known(pair.quality_loss, pair.quality_loss_low, pair.quality_loss_high, protocol)
    findings = [_compare(Reason.QUALITY, loss, limit)]
    if demands.requirement_problem is not None:
        findings.append(_Finding(Verdict.INCONCLUSIVE, Reason.REQUIREMENT, demands.requirement_problem))
    if demands.req_speedup is not None:
        reached = _reached_speedup(pair, protocol)
        speedup = _known(reached, pair.speedup_low, pair.speedup_high, protocol)
        findings.append(_compare(Reason.SPEEDUP, speedup, demands.req_speedup))
    if demands.req_latency_s is not None:
        ends = (pair.candidate_seconds_per_image_low, pair.candidate_seconds_per_image_high)
        seconds = _known(pair.candidate_seconds_per_image, *ends, protocol)
        findings.append(_compare(Reason.LATENCY, seconds, demands.req_latency_s))
    return findings


def _with_rare_losses(finding: _Finding, pair: PairFacts, limit: float) -> _Finding:
    """Says that a pass takes rare losses for absent, or how many images it takes to exclude them."""
    if finding.reason is not Reason.QUALITY or pair.quality_loss is None:
        return finding
    if finding.verdict is Verdict.PASS and pair.rare_losses is RareLosses.ASSUME_NONE:
        return replace(finding, sentence=f"{finding.sentence} (rare_losses: {RareLosses.ASSUME_NONE})")
    if finding.verdict is not Verdict.INCONCLUSIVE or pair.rare_losses is not RareLosses.BOUND:
        return finding
    if pair.largest_loss is None or limit <= 0:
        return finding
    needed = stats.images_needed(pair.largest_loss, limit, design_of(pair).error)
    if pair.images_measured >= needed:
        return finding
    why = (
        f"{pair.images_measured} images cannot exclude rare losses of up to {pair.largest_loss:.0%} an image, at least "
        f"{needed} are needed (or evaluation.rare_losses: assume_none)"
    )
    return replace(finding, sentence=f"{finding.sentence}; {why}")


def _known(value: float | None, low: float | None, high: float | None, protocol: Protocol) -> Interval | None:
    """What a protocol goes by: the interval, or the point value alone."""
    if value is None:
        return None
    return Interval(value, low, high) if protocol == Protocol.STRICT else Interval(value, value, value)


def _compare(reason: Reason, value: Interval | None, limit: float) -> _Finding:
    """Hold a figure against its limit, written so that a NaN neither passes nor fails."""
    scale = _SCALES[reason]
    if value is None:
        sentence = f"{scale.name} is not known: the baseline's mean CLIP score is not positive"
        return _Finding(Verdict.INCONCLUSIVE, reason, sentence)
    if value.low is None or value.high is None:
        verdict = Verdict.INCONCLUSIVE
    elif scale.at_least:
        verdict = _verdict(fails=value.high < limit, holds=value.low >= limit)
    else:
        verdict = _verdict(fails=value.low > limit, holds=value.high <= limit)
    return _Finding(verdict, reason, _sentence(scale, value, limit, verdict))


def _verdict(*, fails: bool, holds: bool) -> Verdict:
    if fails:
        return Verdict.FAIL
    return Verdict.PASS if holds else Verdict.INCONCLUSIVE


def _sentence(scale: _Scale, value: Interval, limit: float, verdict: Verdict) -> str:
    """Such as "speedup 1.12x (1.10x to 1.14x) is below the required 1.50x"."""
    numbers = [number for number in (value.value, value.low, value.high) if number is not None]
    write = _writer(scale, numbers, limit)
    if value.low is None or value.high is None:
        figures = f"{scale.name} {write(value.value)} against {write(limit)}"
        return f"{figures}: {NO_INTERVAL}"
    interval = "" if value.low == value.high else f" ({write(value.low)} to {write(value.high)})"
    return f"{scale.name} {write(value.value)}{interval} {scale.phrases[verdict]} {write(limit)}"


def _writer(scale: _Scale, numbers: Sequence[float], limit: float) -> Callable[[float], str]:
    """Writes numbers with enough decimals that none of them looks like the limit without being it."""
    decimals = scale.decimals
    while decimals < 6 and any(
        number != limit and round(number * scale.factor, decimals) == round(limit * scale.factor, decimals)
        for number in numbers
    ):
        decimals += 1
    return lambda number: f"{number * scale.factor:.{decimals}f}{scale.unit}"


def _achievement_rate(pair: PairFacts, limit: float, protocol: Protocol) -> float | None:
    if pair.difficulty != "hard" or pair.quality_loss is None:
        return None
    if not pair.quality_loss <= limit:
        return 0.0
    if pair.requirement_problem is not None:
        return None
    shares = [1.0]
    reached = _reached_speedup(pair, protocol)
    if pair.req_speedup is not None and reached is not None:
        shares.append(reached / pair.req_speedup)
    if pair.req_latency_s is not None and pair.candidate_seconds_per_image is not None:
        shares.append(pair.req_latency_s / pair.candidate_seconds_per_image)
    return min(shares)
