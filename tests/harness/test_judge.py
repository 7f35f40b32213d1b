import math

import pytest

from actors.messages import Status
from harness.judge import Criteria, judge, judged
from harness.records import Protocol, RareLosses, Reason, Verdict
from harness.stats import images_needed, one_sided_error
from tests.harness.record_samples import FIXED, STRICT, facts, record, unmeasured

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
NOT_THE_CANDIDATE = {Status.MISSING_TASK, Status.BASELINE_FAILED, Status.INFRASTRUCTURE}


def outcome(criteria=STRICT, **changes):
    judgement = judge(facts(**changes), criteria)
    return judgement.verdict, judgement.reason


def speedup(value, low, high):
    return {"speedup": value, "speedup_low": low, "speedup_high": high}


def loss(value, low, high):
    return {"quality_loss": value, "quality_loss_low": low, "quality_loss_high": high}


def seconds(value, low, high):
    name = "candidate_seconds_per_image"
    return {name: value, f"{name}_low": low, f"{name}_high": high, "req_speedup": None, "req_latency_s": 0.7}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (PASS, None)),
        (speedup(1.55, 1.50, 1.60), (PASS, None)),  # the limit itself is reached
        (speedup(1.55, 1.49, 1.60), (INCONCLUSIVE, Reason.SPEEDUP)),
        (speedup(1.45, 1.40, 1.50), (INCONCLUSIVE, Reason.SPEEDUP)),
        (speedup(1.45, 1.40, 1.49), (FAIL, Reason.SPEEDUP)),
        (speedup(1.62, None, None), (INCONCLUSIVE, Reason.SPEEDUP)),
        (loss(0.04, 0.03, 0.05), (PASS, None)),
        (loss(0.04, 0.03, 0.051), (INCONCLUSIVE, Reason.QUALITY)),
        (loss(0.06, 0.05, 0.07), (INCONCLUSIVE, Reason.QUALITY)),
        (loss(0.06, 0.051, 0.07), (FAIL, Reason.QUALITY)),
        (loss(0.01, None, None), (INCONCLUSIVE, Reason.QUALITY)),
        (loss(None, None, None), (INCONCLUSIVE, Reason.QUALITY)),
        (seconds(0.65, 0.60, 0.70), (PASS, None)),
        (seconds(0.65, 0.60, 0.71), (INCONCLUSIVE, Reason.LATENCY)),
        (seconds(0.75, 0.71, 0.80), (FAIL, Reason.LATENCY)),
        (seconds(0.65, None, None), (INCONCLUSIVE, Reason.LATENCY)),
        ({"req_speedup": None, **speedup(0.5, 0.4, 0.6)}, (PASS, None)),  # nothing but quality is asked
    ],
)
def test_strict_verdicts(changes, expected):
    assert outcome(**changes) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"speedup_mean_over_mean": 1.5, **speedup(1.4, 1.3, 1.5)}, (PASS, None)),
        ({"speedup_mean_over_mean": 1.49, **speedup(1.6, 1.5, 1.7)}, (FAIL, Reason.SPEEDUP)),
        (speedup(1.62, None, None), (PASS, None)),  # one batch is enough
        (loss(0.05, 0.0, 0.1), (PASS, None)),
        (loss(0.051, None, None), (FAIL, Reason.QUALITY)),
        (loss(None, None, None), (INCONCLUSIVE, Reason.QUALITY)),
        (seconds(0.7, None, None), (PASS, None)),
        (seconds(0.71, None, None), (FAIL, Reason.LATENCY)),
    ],
)
def test_fixed_verdicts(changes, expected):
    assert outcome(FIXED, **changes) == expected


@pytest.mark.parametrize("criteria", [STRICT, FIXED])
@pytest.mark.parametrize("name", ["speedup", "loss", "seconds"])
def test_nan_never_passes(criteria, name):
    changes = {"speedup": speedup, "loss": loss, "seconds": seconds}[name](math.nan, math.nan, math.nan)
    assert outcome(criteria, speedup_mean_over_mean=math.nan, **changes)[0] is INCONCLUSIVE


def test_a_sure_failure_goes_before_a_doubt_and_quality_before_speedup():
    slow, bad, doubtful = speedup(1.1, 1.0, 1.2), loss(0.08, 0.07, 0.09), loss(0.05, 0.04, 0.06)
    assert outcome(**slow, **bad) == (FAIL, Reason.QUALITY)
    assert outcome(**slow, **doubtful) == (FAIL, Reason.SPEEDUP)
    assert outcome(**doubtful, **speedup(1.5, 1.4, 1.6)) == (INCONCLUSIVE, Reason.QUALITY)


def test_speedup_and_latency_must_both_hold():
    latency_missed = {**seconds(0.8, 0.79, 0.81), "req_speedup": 1.5}
    assert outcome(**latency_missed) == (FAIL, Reason.LATENCY)
    assert outcome(**latency_missed, **speedup(1.1, 1.0, 1.2)) == (FAIL, Reason.SPEEDUP)


def test_the_tasks_own_quality_limit_goes_before_the_criterias():
    changes = {"req_max_quality_loss": 0.10, **loss(0.08, 0.07, 0.09)}
    assert outcome(**changes) == (PASS, None)
    assert judge(facts(**changes), STRICT).max_quality_loss == 0.10
    assert outcome(req_max_quality_loss=0.001, **loss(0.004, 0.003, 0.005)) == (FAIL, Reason.QUALITY)


@pytest.mark.parametrize("criteria", [STRICT, FIXED])
def test_a_contradicting_task_is_inconclusive_unless_quality_fails(criteria):
    problem = "the text demands a speedup of 1.5x and of 2x"
    judgement = judge(facts(req_speedup=None, requirement_problem=problem), criteria)
    assert (judgement.verdict, judgement.reason) == (INCONCLUSIVE, Reason.REQUIREMENT)
    assert judgement.detail == problem
    bad = loss(0.08, 0.07, 0.09)
    assert outcome(criteria, req_speedup=None, requirement_problem=problem, **bad) == (FAIL, Reason.QUALITY)


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.MEASURED])
@pytest.mark.parametrize("criteria", [STRICT, FIXED])
def test_whoever_is_to_blame_gets_the_failure(status, criteria):
    judgement = judge(unmeasured(status, "what happened"), criteria)
    if status is Status.CONFIG_MISMATCH:
        assert (judgement.verdict, judgement.reason) == (FAIL, Reason.CONFIG)
    elif status is Status.REJECTED:
        assert (judgement.verdict, judgement.reason) == (FAIL, Reason.INTEGRITY)
    elif status in NOT_THE_CANDIDATE:
        assert (judgement.verdict, judgement.reason) == (INCONCLUSIVE, Reason.ERROR)
    else:
        assert (judgement.verdict, judgement.reason) == (FAIL, Reason.ERROR)
    assert judgement.detail == "what happened"


def detail(**changes):
    return judge(facts(**changes), STRICT).detail


def test_details_are_sentences_with_the_numbers():
    assert detail(**speedup(1.12, 1.10, 1.14)) == "speedup 1.12x (1.10x to 1.14x) is below the required 1.50x"
    assert detail(**loss(0.061, 0.056, 0.066)) == "quality loss 6.1% (5.6% to 6.6%) is above the limit of 5.0%"
    assert detail(**seconds(0.8, 0.79, 0.81)) == (
        "time per image 0.800 s (0.790 s to 0.810 s) is above the required 0.700 s"
    )
    assert detail() == (
        "quality loss 0.4% (-0.2% to 1.0%) is within the limit of 5.0%; "
        "speedup 1.62x (1.58x to 1.66x) reaches the required 1.50x"
    )
    assert "more batches are needed" in detail(**speedup(1.62, None, None))
    assert judge(unmeasured(Status.TIMEOUT), STRICT).detail == "the pair ended with the status timeout"


def test_a_detail_never_says_that_a_number_misses_itself():
    assert detail(**speedup(1.498, 1.497, 1.499)) == "speedup 1.498x (1.497x to 1.499x) is below the required 1.500x"


def test_a_pass_says_that_rare_losses_are_taken_for_absent():
    assumed = {"rare_losses": RareLosses.ASSUME_NONE}
    assert "within the limit of 5.0% (rare_losses: assume_none); speedup" in detail(**assumed)
    assert "assume_none" not in judge(facts(**assumed), FIXED).detail, "the fixed protocol has no interval"
    assert "assume_none" not in detail(**assumed, **loss(0.06, 0.055, 0.065)), "a sure miss assumes nothing"


def test_a_doubt_says_how_many_images_it_takes():
    doubtful = {**loss(0.01, 0.0, 0.2), "largest_loss": 1.0}
    needed = images_needed(1.0, 0.05, one_sided_error(8, 0.95))
    assert f"16 images cannot exclude rare losses of up to 100% an image, at least {needed} are" in detail(**doubtful)
    assert "cannot exclude" not in detail(**doubtful, images_measured=needed)
    assert "cannot exclude" not in detail(**loss(None, None, None)), "a mean score below 0 is another matter"


def rate(criteria=STRICT, **changes):
    return judge(facts(**{"difficulty": "hard", **changes}), criteria).achievement_rate


def test_achievement_is_the_reached_share_of_what_a_hard_task_requires():
    assert rate(**speedup(1.2, 1.1, 1.3)) == pytest.approx(0.8)
    assert rate(**speedup(3.0, 2.9, 3.1)) == 1.0
    assert rate(FIXED, speedup_mean_over_mean=0.75) == pytest.approx(0.5)
    assert rate(**seconds(1.4, 1.3, 1.5)) == pytest.approx(0.5)
    assert rate(**{**seconds(1.4, 1.3, 1.5), "req_speedup": 2.0}) == pytest.approx(0.5)
    assert rate(req_speedup=None) == 1.0


def test_achievement_is_0_without_quality_or_measurement():
    assert rate(**loss(0.06, 0.055, 0.065)) == 0.0
    assert rate(**loss(0.06, 0.04, 0.08)) == 0.0
    assert rate(req_speedup=None, **loss(0.06, 0.055, 0.065)) == 0.0
    assert judge(unmeasured(Status.TIMEOUT, difficulty="hard"), STRICT).achievement_rate == 0.0


def test_achievement_is_not_known_where_nothing_clear_is_required_or_the_task_is_not_hard():
    assert rate(req_speedup=None, requirement_problem="1.5x and 2x") is None
    assert rate(**loss(None, None, None)) is None
    assert rate(difficulty="medium") is None
    assert judge(unmeasured(Status.TIMEOUT, difficulty="easy"), STRICT).achievement_rate is None


def test_a_record_holds_both_protocols_verdicts():
    doubtful = record(**speedup(1.52, 1.4, 1.6))
    assert (doubtful.verdict, doubtful.reason, doubtful.passed) == (INCONCLUSIVE, Reason.SPEEDUP, False)
    assert (doubtful.strict_verdict, doubtful.fixed_verdict) == (INCONCLUSIVE, PASS)
    again = judged(doubtful, FIXED)
    assert (again.verdict, again.reason, again.passed, again.protocol) == (PASS, None, True, Protocol.FIXED)
    assert (again.strict_verdict, again.strict_reason) == (INCONCLUSIVE, Reason.SPEEDUP)


def test_a_record_can_be_judged_again_and_back():
    first = record(**loss(0.02, 0.015, 0.025))
    harder = judged(first, Criteria(Protocol.STRICT, max_quality_loss=0.01))
    assert (first.verdict, harder.verdict, harder.reason) == (PASS, FAIL, Reason.QUALITY)
    assert judged(harder, STRICT) == first
    failed = judged(unmeasured(Status.CALL_ERROR, "ValueError: no"), STRICT)
    assert judged(failed, FIXED).detail == "ValueError: no"
