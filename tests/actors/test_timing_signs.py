"""Each sign in times, counts and use of the machine is found in a cheat, and in nothing that an honest pair shows."""

import dataclasses

import numpy as np
import pytest

from actors.messages import BatchRow, Side, Sign
from actors.timing_signs import (
    baseline_slowed,
    counted_calls,
    ran_while_stopped,
    stopped_side_ran,
    too_fast,
    work_does_not_fit,
    work_floor_s,
)

TICK = 0.01
PRECISE = 1e-6


def row(side=Side.BASELINE, batch=0, **changes) -> BatchRow:
    return dataclasses.replace(BatchRow(batch, 0, side, 2, 1.0, 0.99, 20, None, 0.0), **changes)


def pair(baseline: dict, candidate: dict, batches: int = 4) -> list[BatchRow]:
    sides = ((Side.BASELINE, baseline), (Side.CANDIDATE, candidate))
    return [row(side, batch, **changes) for batch in range(batches) for side, changes in sides]


def test_too_fast():
    floor = work_floor_s(1e12, 1e13)
    assert floor == pytest.approx(0.002)
    assert too_fast(floor, floor) is None
    finding = too_fast(0.0005, floor)
    assert finding is not None
    assert finding.sign is Sign.TOO_FAST
    assert "0.000500" in finding.evidence
    assert "0.002000" in finding.evidence
    with pytest.raises(ValueError, match="must be positive"):
        work_floor_s(0, 1e13)


def test_calls_that_nothing_counts_are_a_sign_where_the_baselines_are_counted():
    def sign(baseline, candidate):
        found = counted_calls(row(denoiser_calls=baseline), row(Side.CANDIDATE, denoiser_calls=candidate))
        return found and found.sign

    assert sign(20, None) is sign(20, 0) is Sign.CALLS_NOT_COUNTED
    assert sign(20, 8) is Sign.FEWER_CALLS
    assert sign(20, 20) is sign(20, 40) is sign(None, None) is sign(None, 8) is sign(0, None) is None


def test_work_that_does_not_fit_the_calls_is_a_sign_unless_a_method_explains_it():
    rows = pair({"cpu_s": 1.0}, {"cpu_s": 0.3})
    found = work_does_not_fit(rows, ())
    assert found.sign is Sign.WORK_DOES_NOT_FIT
    assert "0.015 s of the CPU" in found.evidence and "(30%)" in found.evidence
    assert work_does_not_fit(rows, {"deepcache"}) is None
    assert work_does_not_fit(rows, {"channels_last"}), "which saves little"
    assert work_does_not_fit(pair({"cpu_s": 1.0}, {"cpu_s": 0.8}), ()) is None
    assert work_does_not_fit(pair({"cpu_s": 1.0}, {"cpu_s": 0.3, "denoiser_calls": 8}), ()) is None


@pytest.mark.parametrize("missing", [{"denoiser_calls": None}, {"cpu_s": None}, {"denoiser_calls": 0}])
def test_work_is_compared_only_where_both_sides_are_known(missing):
    assert work_does_not_fit(pair({"cpu_s": 1.0}, {"cpu_s": 0.1, **missing}), ()) is None
    assert work_does_not_fit(pair({"cpu_s": 1.0, **missing}, {"cpu_s": 0.1}), ()) is None


def test_on_a_gpu_energy_is_compared_where_calls_are_long_enough():
    rows = pair({"cpu_s": 1.0, "energy_j": 500.0}, {"cpu_s": 1.0, "energy_j": 200.0})
    assert "10 J" in work_does_not_fit(rows, ()).evidence
    quick = [dataclasses.replace(one, wall_s=0.01) if one.side is Side.CANDIDATE else one for one in rows]
    assert work_does_not_fit(quick, ()), "a candidate cannot be too quick for the comparison"
    short = [dataclasses.replace(one, wall_s=0.1) for one in rows]
    assert work_does_not_fit(short, ()) is None
    assert work_does_not_fit([], ()) is None


@pytest.mark.parametrize(
    ("used", "resolution", "ran"),
    [(0.0, PRECISE, False), (0.009, PRECISE, False), (0.011, PRECISE, True), (0.019, TICK, False), (0.03, TICK, True)],
)
def test_a_stopped_side_that_used_the_cpu_spoils_the_batch(used, resolution, ran):
    assert stopped_side_ran(row(stopped_cpu_s=used), resolution) == ran


def test_a_stopped_side_that_used_the_gpu_spoils_the_batch():
    assert stopped_side_ran(row(stopped_cpu_s=0.0, stopped_gpu_share=0.1), PRECISE)
    assert not stopped_side_ran(row(stopped_cpu_s=0.0, stopped_gpu_share=0.0), PRECISE)
    assert not stopped_side_ran(row(), PRECISE)


def test_a_candidate_that_ran_in_two_turns_is_rejected_and_one_turn_is_not_enough():
    turns = [row(batch=batch, stopped_cpu_s=0.0) for batch in range(6)]
    once = [row(stopped_cpu_s=0.015), *turns]
    assert ran_while_stopped(once, 0.015, PRECISE) is None
    found = ran_while_stopped([row(stopped_cpu_s=0.015), *once], 0.03, PRECISE)
    assert found.sign is Sign.RAN_WHILE_STOPPED
    assert "0.030 s of the CPU" in found.evidence


def test_a_little_in_every_turn_adds_up():
    turns = [row(batch=batch, stopped_cpu_s=0.009) for batch in range(6)]
    assert ran_while_stopped(turns, 6 * 0.009, PRECISE) is None
    assert ran_while_stopped(turns, 0.2, PRECISE).sign is Sign.RAN_WHILE_STOPPED, "between the turns, too"


def test_what_the_baseline_used_in_the_candidates_turns_is_no_sign_against_the_candidate():
    turns = [row(Side.CANDIDATE, batch, stopped_cpu_s=0.5) for batch in range(6)]
    assert ran_while_stopped(turns, 0.0, PRECISE) is None


def test_a_kernel_in_the_baselines_turns_is_a_sign_from_five_per_cent_on():
    def share(*shares):
        turns = [row(batch=n, stopped_cpu_s=0.0, stopped_gpu_share=one) for n, one in enumerate(shares)]
        return ran_while_stopped(turns, 0.0, PRECISE)

    assert share(0.5, 0.2, 0.0, 0.0) is None, "two hits may be two late kernels"
    assert share(0.02, 0.02, 0.02, 0.0) is None
    assert share(*[0.5] * 3, *[0.0] * 17) is None, "in too few of many turns"
    assert "in 3 of 4 turns of the baseline, for 15%" in share(0.2, 0.2, 0.2, 0.0).evidence
    assert share(None, None) is None


def calls(seconds, cpu_s=None):
    """Calls of the baseline that took so long; their CPU time is the same unless it is given."""
    return [row(wall_s=one, cpu_s=cpu) for one, cpu in zip(seconds, cpu_s or [0.05] * len(seconds), strict=True)]


def noisy(seconds, count, noise=0.03, seed=0):
    return calls(list(seconds * np.exp(np.random.default_rng(seed).normal(0, noise, count))))


@pytest.mark.parametrize(("beside", "slowed"), [(1.0, False), (1.04, False), (1.5, True), (3.0, True)])
def test_a_baseline_that_is_slower_beside_the_candidate_is_a_sign(beside, slowed):
    found = baseline_slowed(noisy(beside, 6), noisy(1.0, 6, seed=1))
    assert bool(found) == slowed


def test_quiet_turns_do_not_clear_a_candidate():
    assert baseline_slowed(calls([1.0, 3.0] * 6), noisy(1.0, 8)).sign is Sign.BASELINE_SLOWED
    assert baseline_slowed(calls([1.0] + [2.0] * 7), calls([1.0] * 8))


def test_a_single_slow_call_of_a_noisy_machine_is_no_sign():
    assert baseline_slowed([*noisy(1.0, 7), *calls([4.0])], noisy(1.0, 8, seed=1)) is None
    assert baseline_slowed(calls([2.0]), calls([1.0])) is None


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_is_no_sign(seed):
    assert baseline_slowed(noisy(1.0, 6, 0.15, seed), noisy(1.0, 6, 0.15, seed + 100)) is None


def test_a_baseline_that_uses_far_more_of_the_cpu_in_some_turns_is_a_sign():
    """As measured: timers that a frozen candidate left fired in these turns, on the baseline's account."""
    times = [0.40, 0.19, 0.05, 0.22, 0.07, 0.27]
    alone = calls([0.07, 0.06, 0.08, 0.07, 0.06, 0.07], [0.06, 0.05, 0.07, 0.06, 0.05, 0.06])
    found = baseline_slowed(calls(times, times), alone)
    assert "in 4 of 6 calls beside it the baseline used 0.190 s of the CPU or more" in found.evidence
    assert baseline_slowed(calls(times, [0.4, 0.05, 0.05, 0.06, 0.05, 0.05]), alone) is None, "one call is an accident"
    assert baseline_slowed(calls(times), calls([0.07] * 6, [0.0] * 6)) is None, "no CPU time is known"
