import json

import pytest

from actors.messages import Status
from harness.judge import judged
from harness.records import Protocol
from harness.run_statistics import expected_false_passes, false_coverage_level, fcr_intervals, summarise
from harness.stats import Interval
from tests.harness.record_samples import FIXED, STRICT, record, unmeasured


def speedup(value, low, high):
    return {"speedup": value, "speedup_low": low, "speedup_high": high}


RUN = [
    record(prompt_id="a", difficulty="easy", level=1),
    record(prompt_id="b", difficulty="hard", level=5, candidate_methods=("tgate",), **speedup(1.2, 1.1, 1.3)),
    record(prompt_id="c", difficulty="hard", level=5, candidate_methods=(), **speedup(1.52, 1.4, 1.6)),
    judged(unmeasured(Status.TIMEOUT, "late", prompt_id="d", difficulty="hard", candidate_methods=None), STRICT),
    judged(unmeasured(Status.MISSING_TASK, "alone", prompt_id="e", difficulty=None, level=None), STRICT),
]


def test_the_statistics_count_every_record():
    total = summarise(RUN).total
    assert (total.tasks, total.passed, total.failed, total.inconclusive) == (5, 1, 2, 2)
    assert total.passed_share == pytest.approx(0.2)
    assert (total.pass_rate.low, total.pass_rate.high) == pytest.approx((0.2, 0.6))
    assert total.protocols_differ == 2  # b and c: 1.61x by mean over mean passes
    assert total.achievement_known == 3
    assert total.mean_achievement_rate == pytest.approx((0.8 + 1.0 + 0.0) / 3)


def test_the_statistics_by_group_count_every_record():
    summary = summarise(RUN)
    assert {name: counts.tasks for name, counts in summary.by_level.items()} == {
        "1": 1,
        "2": 1,
        "5": 2,
        "not given": 1,
    }
    assert {name: counts.tasks for name, counts in summary.by_difficulty.items()} == {
        "easy": 1,
        "hard": 3,
        "not given": 1,
    }
    assert {name: counts.tasks for name, counts in summary.by_method.items()} == {
        "deepcache": 2,
        "none": 1,
        "not known": 1,
        "tgate": 1,
        "tome": 2,
    }
    assert {name: counts.tasks for name, counts in summary.by_status.items()} == {
        "measured": 3,
        "missing_task": 1,
        "timeout": 1,
    }
    assert {name: counts.tasks for name, counts in summary.by_reason.items()} == {"error": 2, "none": 1, "speedup": 2}
    assert summary.by_difficulty["hard"].passed_share == 0.0
    assert summary.by_difficulty["hard"].pass_rate.high == pytest.approx(1 / 3)
    assert summary.by_status["measured"].pass_rate is summary.by_reason["none"].pass_rate is None
    assert summary.by_method["none"].inconclusive == 1


def test_the_actors_time_is_told_by_what_it_went_into():
    first = record(
        prompt_id="1",
        wall_s=60.0,
        idle_s=2.0,
        timed_s=30.0,
        baseline_warmup_s=(5.0, 3.0),
        candidate_warmup_s=(4.0, 2.0),
    )
    kept = record(
        prompt_id="2",
        wall_s=36.0,
        idle_s=2.0,
        timed_s=30.0,
        baseline_warmup_s=(5.0, 3.0),
        baseline_warm_from_before=True,
        candidate_warmup_s=(4.0,),
        device="NVIDIA H100",
        launch_bound=True,
        batches_marked=3,
        speedup_low=1.2,
    )
    spent = summarise([first, kept]).spent
    assert (spent.actors_s, spent.useful_s) == (100.0, 78.0)
    assert (spent.useful_share, spent.verdicts, spent.seconds_per_verdict) == (0.78, 1, 100.0)
    assert (spent.devices, spent.launch_bound, spent.marked) == ({"NVIDIA H100": 1}, 1, 3)
    assert json.loads(json.dumps(spent.as_dict()))["useful_share"] == 0.78


def test_the_statistics_of_nothing_are_unknown():
    summary = summarise([])
    total = summary.total
    assert (total.tasks, total.passed_share, total.pass_rate, total.mean_achievement_rate) == (0, None, None, None)
    assert (summary.confidence, summary.protocol, summary.joint_confidence) == (None, None, None)
    assert (summary.expected_false_passes, summary.false_coverage_level) == (None, None)


# The pass rate


def test_tasks_of_one_baseline_are_one_cluster():
    a, b = {"baseline_sha256": "aa"}, {"baseline_sha256": "bb"}
    unread = {"baseline_sha256": None, "baseline_file": "/tasks/other.py"}
    alone = {"baseline_sha256": None, "baseline_file": None}
    files = [a, a, b, unread, unread, alone, alone]
    records = [record(prompt_id=str(number), **changes) for number, changes in enumerate(files)]
    assert summarise(records).total.pass_rate.clusters == 5


def test_tasks_of_many_baselines_have_a_narrower_interval():
    shared = [record(prompt_id=str(n), baseline_sha256=str(n % 2)) for n in range(8)]
    own = [record(prompt_id=str(n), baseline_sha256=str(n)) for n in range(8)]
    assert summarise(shared).total.pass_rate.interval_low == pytest.approx(0.025 ** (1 / 2))
    assert summarise(own).total.pass_rate.interval_low == pytest.approx(0.025 ** (1 / 8))


def test_the_pass_rate_has_the_records_confidence():
    rate = summarise(
        [record(prompt_id=str(n), baseline_sha256=str(n), confidence=0.8) for n in range(8)]
    ).total.pass_rate
    assert (rate.confidence, rate.interval_low) == (0.8, pytest.approx(0.1 ** (1 / 8)))


def test_the_pass_rate_goes_by_the_strict_verdicts_in_either_protocol():
    strict, fixed = summarise(RUN), summarise([judged(one, FIXED) for one in RUN])
    assert (strict.protocol, fixed.protocol) == (Protocol.STRICT, Protocol.FIXED)
    assert (fixed.total.passed, fixed.total.passed_share) == (3, 0.6)
    assert fixed.total.pass_rate == strict.total.pass_rate


# How often verdicts and intervals may be wrong


def test_false_passes_are_expected_of_measured_pairs_alone_and_by_the_strict_protocol_alone():
    assert expected_false_passes(RUN) == pytest.approx(3 * 0.025)
    assert expected_false_passes([record(confidence=0.9)]) == pytest.approx(0.05)
    assert expected_false_passes([*RUN, record(FIXED)]) is None


def test_the_intervals_of_passed_pairs_are_wider_the_fewer_pass():
    assert false_coverage_level(RUN) == pytest.approx(1 - 0.05 * 1 / 3)
    assert false_coverage_level(RUN[:1]) == pytest.approx(0.95)
    assert false_coverage_level(RUN[1:]) is None


def test_the_intervals_of_passed_pairs_are_computed_by_the_caller():
    def interval_at(one, confidence):
        return Interval(one.speedup, confidence, None)

    assert fcr_intervals(RUN, interval_at) == {"a": Interval(1.62, false_coverage_level(RUN), None)}
    assert fcr_intervals(RUN[1:], interval_at) == {}


def test_the_intervals_of_one_pair_together_hold_less_surely():
    latency = record(req_latency_s=0.7)
    quality = record(req_speedup=None)
    pairs = [
        (summarise(records).intervals_of_a_pair, summarise(records).joint_confidence)
        for records in ([quality], RUN, [*RUN, latency], RUN[3:])
    ]
    assert pairs == [(1, 0.95), (2, pytest.approx(0.90)), (3, pytest.approx(0.85)), (0, 1.0)]


def test_the_statistics_are_plain_values_for_the_run_file():
    statistics = json.loads(json.dumps(summarise(RUN).as_dict(), allow_nan=False))
    assert statistics["protocol"] == "strict"
    assert statistics["total"]["pass_rate"]["low"] == pytest.approx(0.2)
    assert statistics["by_level"]["5"]["inconclusive"] == 1
    assert statistics["joint_confidence"] == pytest.approx(0.9)
    assert "spent" not in statistics
