import json

import pytest

from actors.messages import Status
from harness.judge import judged
from harness.run_statistics import summarise
from tests.harness.record_samples import STRICT, record, unmeasured


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
    assert total.pass_rate == pytest.approx(0.2)
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
    assert summary.by_difficulty["hard"].pass_rate == 0.0
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
    total = summarise([]).total
    assert (total.tasks, total.pass_rate, total.mean_achievement_rate) == (0, None, None)
