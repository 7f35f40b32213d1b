"""When a pair has been measured enough."""

import dataclasses
import itertools

import pytest

from actors.messages import Stopped
from harness.evaluation import Looks
from harness.judge import Criteria
from harness.records import Demands, Protocol
from harness.stopping import MeasureAll, StopWhenKnown
from tests.harness.record_samples import batches, images

LIMIT = Criteria(Protocol.STRICT, max_quality_loss=0.05)


def stop_after(count, *, half_width=0.02, planned=16, noise=0.0, loss=0.0, score=30.0, **demands):
    """What the rule says after so many batches of a speedup of 2, noisy by the share `noise`."""
    rule = StopWhenKnown(Demands(**demands), LIMIT, Looks(0.95, planned), half_width)
    signs = itertools.cycle((1, -1, -1, 1, 1, 1, -1))
    rows = [dataclasses.replace(row, wall_s=row.wall_s * (1 + noise * next(signs))) for row in batches(count)]
    scores = (score * (1 - loss * (1 + 0.1 * next(signs))) for _ in itertools.count())
    scored = [dataclasses.replace(row, baseline_clip=score, candidate_clip=next(scores)) for row in images(4 * count)]
    return rule(rows, scored)


def test_no_look_before_there_is_an_interval():
    assert stop_after(3, req_speedup=1.5) is None
    assert stop_after(4, req_speedup=1.5) is Stopped.VERDICT


@pytest.mark.parametrize("demands", [{"req_speedup": 3.0}, {"req_latency_s": 0.1}, {"req_latency_s": 1.0}])
def test_a_sure_verdict_ends_it_either_way(demands):
    assert stop_after(8, noise=0.01, **demands) is Stopped.VERDICT


def test_a_doubt_goes_on():
    assert stop_after(8, noise=0.05, req_speedup=1.95) is None


def test_a_requirement_inside_a_narrow_interval_ends_it_too():
    assert stop_after(16, noise=0.005, req_speedup=2.0) is Stopped.PRECISION
    assert stop_after(16, noise=0.005, req_speedup=2.0, half_width=0.0001) is None


def test_a_latency_in_doubt_goes_on_though_the_speedup_is_known_well():
    assert stop_after(8, noise=0.001, req_latency_s=0.55) is None


def test_without_a_demand_on_time_the_speedup_is_to_be_known_well():
    assert stop_after(8, noise=0.05) is None
    assert stop_after(8, noise=0.001) is Stopped.PRECISION


def test_a_quality_that_is_surely_too_low_ends_it_whatever_the_speed():
    assert stop_after(6, noise=0.05, loss=0.5, req_speedup=1.95) is Stopped.VERDICT


def test_a_quality_in_doubt_goes_on_though_the_speed_is_sure():
    assert stop_after(4, loss=0.05, req_speedup=1.5) is None


def test_a_quality_that_cannot_be_known_keeps_nothing_waiting():
    assert stop_after(4, score=-3.0, req_speedup=1.5) is Stopped.VERDICT


def test_a_task_that_contradicts_itself_is_measured_until_the_speedup_is_known():
    assert stop_after(8, noise=0.05, requirement_problem="two speedups") is None
    assert stop_after(8, noise=0.001, requirement_problem="two speedups") is Stopped.PRECISION


def test_the_fixed_protocol_never_ends_early():
    assert MeasureAll()(batches(8), images(32)) is None
