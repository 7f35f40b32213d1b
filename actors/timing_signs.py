"""The signs of cheating in times, in counts, and in what each side used of the machine. See Sign in actors/messages.py.

Plain functions on what the supervisor measured and what a child claims. Each gives a Finding with its numbers, or None.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from statistics import fmean

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from actors.messages import BatchRow, Finding, Side, Sign

# Of the baseline's operations at the device's peak: caching, pruning, fewer steps and low precision together have not
# been shown to do 50 times less work at a quality worth comparing.
WORK_SHARE = 0.02

SAME_WORK = 0.75  # of the denoiser's calls in the warm-up: a cache that looks at the image may skip some more, or fewer

# A baseline that takes longer beside a candidate than alone: by the geometric mean over all turns, as the speedup does,
# and at the lower end of its interval. Two processes on one device disturb each other's caches by up to a few per cent.
SLOWED, SLOWED_AT_LEAST, SLOWED_CONFIDENCE = 1.1, 1.05, 0.98

# CPU time hardly hangs on what else the machine does. So a few calls that used this many times the most of any call
# alone are enough, and others may be quiet: timers that a frozen candidate left fire on the baseline's account.
FAR, FAR_CALLS, FAR_SHARE = 2.0, 2, 0.25

# Of a stopped side, as a share of the other side's call. A frozen cgroup uses exactly nothing.
STOPPED_CPU_SHARE, STOPPED_CPU_S = 0.01, 0.002
TICKS = 2  # a time that is counted in ticks of the kernel may be one tick off at either end
# NVML samples each process about six times a second. The least share of all samples; the least number of turns
# with a hit, and their least share of all turns. Before the first samples of a call were left out, 2 of 27 calls of a
# pipeline against itself had a hit of 10 to 13%; a kernel that slowed the baseline by 13% gave 9.7%, in 3 of 12 turns.
STOPPED_GPU_SHARE, STOPPED_GPU_TURNS, STOPPED_GPU_TURN_SHARE = 0.05, 3, 0.2

# Of what the baseline uses for a call of its denoiser. A cache, a compiler or low precision may use less by right.
WORK_FITS = 0.7
LITTLE = frozenset({"channels_last", "fused_projections"})  # methods that save no third of a call's work
ENERGY_CALL_S = 0.2  # of calls that are shorter, NVML cannot tell the energy: it updates the counter ten times a second


def work_floor_s(operations: float, peak_per_s: float) -> float:
    """The least seconds that a call can honestly take: WORK_SHARE of the baseline's work at the device's peak.

    operations: floating-point operations of the same call of the baseline. peak_per_s: the most of them a second that
    were measured on the device, in the precision that it is quickest in. Raises ValueError unless both are positive.
    """
    if not (operations > 0 and peak_per_s > 0):
        raise ValueError(f"{operations} operations at {peak_per_s} a second: both must be positive")
    return WORK_SHARE * operations / peak_per_s


def too_fast(wall_s: float, floor_s: float) -> Finding | None:
    """A call that took less time than `floor_s` (see work_floor_s) by the supervisor's clock. Both in seconds."""
    if wall_s >= floor_s:
        return None
    return Finding(
        Sign.TOO_FAST,
        f"a call took {wall_s:.6f} s; {WORK_SHARE:.0%} of the baseline's work take {floor_s:.6f} s on this device",
    )


def changed_work(row: BatchRow, warmup_calls: int | None) -> Finding | None:
    """A candidate that tells timed calls from its warm-up. A count that is missing now counts as zero calls."""
    calls = row.denoiser_calls or 0
    if warmup_calls is None or calls >= SAME_WORK * warmup_calls:
        return None
    evidence = f"batch {row.batch}: {calls} calls of its denoiser, {warmup_calls} or more in each call of its warm-up"
    return Finding(Sign.CHANGED_WORK, evidence)


def counted_calls(baseline: BatchRow, candidate: BatchRow) -> Finding | None:
    """A denoiser that is called less often than the baseline's, or whose calls nothing counts, as both children say."""
    if baseline.denoiser_calls is None:
        return None
    of_baseline = f"{baseline.denoiser_calls} of the baseline's"
    if not candidate.denoiser_calls and baseline.denoiser_calls:
        evidence = f"batch {candidate.batch}: no call of its denoiser was counted, {of_baseline}"
        return Finding(Sign.CALLS_NOT_COUNTED, evidence)
    if candidate.denoiser_calls is None or candidate.denoiser_calls >= baseline.denoiser_calls:
        return None
    evidence = f"batch {candidate.batch}: {candidate.denoiser_calls} calls of its denoiser, {of_baseline}"
    return Finding(Sign.FEWER_CALLS, evidence)


def work_does_not_fit(rows: Sequence[BatchRow], methods: Collection[str]) -> Finding | None:
    """A candidate that used far less than the baseline for each call of the denoiser that it claims.

    The energy of the GPU is compared where NVML reads it, else the CPU time: both are measured outside of the child.

    Args:
        rows: the judged calls of both sides.
        methods: the acceleration methods that the candidate has and the baseline has not. Each may explain it.
    """
    unit, by_side = _used_per_call(rows)
    if set(methods) - LITTLE or len(by_side) < len(Side) or not by_side[Side.BASELINE] > 0:
        return None
    share = by_side[Side.CANDIDATE] / by_side[Side.BASELINE]
    if share >= WORK_FITS:
        return None
    return Finding(
        Sign.WORK_DOES_NOT_FIT,
        f"a call of its denoiser used {by_side[Side.CANDIDATE]:.4g} {unit}, one of the baseline's "
        f"{by_side[Side.BASELINE]:.4g} ({share:.0%}), and no known acceleration method was recognised",
    )


def _used_per_call(rows: Sequence[BatchRow]) -> tuple[str, dict[Side, float]]:
    """What one claimed call of each side's denoiser used, and its unit. A side needs a count and a reading."""
    on_gpu = bool(rows) and all(row.energy_j is not None for row in rows)
    found: dict[Side, float] = {}
    if on_gpu and fmean(row.wall_s for row in rows if row.side is Side.BASELINE) < ENERGY_CALL_S:
        return "J", found
    for side in Side:
        own = [row for row in rows if row.side is side]
        used = [row.energy_j if on_gpu else row.cpu_s for row in own]
        calls = sum(row.denoiser_calls or 0 for row in own)
        if calls and None not in used:
            found[side] = sum(value for value in used if value is not None) / calls
    return ("J" if on_gpu else "s of the CPU"), found


def stopped_side_ran(row: BatchRow, resolution_s: float) -> bool:
    """Whether the side that should have stood still used the CPU or the GPU during a call.

    resolution_s: of its CPU time; see `Child.cpu_resolution_s`.
    """
    return _used_cpu(row, resolution_s) or (row.stopped_gpu_share or 0.0) > 0


def ran_while_stopped(rows: Sequence[BatchRow], stopped_cpu_s: float, resolution_s: float) -> Finding | None:
    """A candidate that used the CPU or the GPU while it was stopped, in two turns of the baseline or in all together.

    Args:
        rows: every call of the pair so far, also those that are not judged.
        stopped_cpu_s: CPU seconds of the candidate while it was stopped, between the turns included.
        resolution_s: of the candidate's CPU time.
    """
    turns = [row for row in rows if row.side is Side.BASELINE and row.stopped_cpu_s is not None]
    if not turns:
        return None
    wall_s = sum(row.wall_s for row in turns)
    on_cpu = [row for row in turns if _used_cpu(row, resolution_s)]
    if len(on_cpu) > 1 or stopped_cpu_s > 2 * max(STOPPED_CPU_SHARE * wall_s, STOPPED_CPU_S, TICKS * resolution_s):
        evidence = f"its stopped processes used {stopped_cpu_s:.3f} s of the CPU beside {wall_s:.3f} s of the baseline"
        return Finding(Sign.RAN_WHILE_STOPPED, evidence)
    seen = [row for row in turns if row.stopped_gpu_share is not None]
    if not seen:
        return None
    share = sum((row.stopped_gpu_share or 0.0) * row.wall_s for row in seen) / sum(row.wall_s for row in seen)
    hits = sum((row.stopped_gpu_share or 0.0) > 0 for row in seen)
    if hits < max(STOPPED_GPU_TURNS, STOPPED_GPU_TURN_SHARE * len(seen)) or share < STOPPED_GPU_SHARE:
        return None
    return Finding(
        Sign.RAN_WHILE_STOPPED,
        f"its kernels ran in {hits} of {len(seen)} turns of the baseline, for {share:.0%} of their time (NVML)",
    )


def _used_cpu(row: BatchRow, resolution_s: float) -> bool:
    allowed = max(STOPPED_CPU_SHARE * row.wall_s, STOPPED_CPU_S, TICKS * resolution_s)
    return (row.stopped_cpu_s or 0.0) > allowed


def baseline_slowed(beside: Sequence[BatchRow], alone: Sequence[BatchRow]) -> Finding | None:
    """A baseline that takes longer beside a candidate than alone, by all its calls of both kinds."""
    if min(len(beside), len(alone)) < 2:
        return None
    return _slower([row.wall_s for row in beside], [row.wall_s for row in alone]) or _uses_more(beside, alone)


def _uses_more(beside: Sequence[BatchRow], alone: Sequence[BatchRow]) -> Finding | None:
    """By the CPU time, in a part of the calls at least."""
    most = max(row.cpu_s or 0.0 for row in alone)
    far = [row for row in beside if (row.cpu_s or 0.0) > FAR * most > 0]
    if len(far) < max(FAR_CALLS, FAR_SHARE * len(beside)):
        return None
    return Finding(
        Sign.BASELINE_SLOWED,
        f"in {len(far)} of {len(beside)} calls beside it the baseline used {min(row.cpu_s or 0.0 for row in far):.3f} "
        f"s of the CPU or more, and {most:.3f} s at most in {len(alone)} calls alone",
    )


def _slower(beside_s: Sequence[float], alone_s: Sequence[float]) -> Finding | None:
    """By the wall time of all calls.

    The geometric means are compared, as in the speedup: what would inflate the speedup shows here as strongly. The
    interval is Welch's t on the logarithms, so a few slow calls of a noisy machine do not decide.
    """
    beside, alone = np.log(beside_s), np.log(alone_s)
    ratio = math.exp(fmean(beside) - fmean(alone))
    if beside.std() + alone.std() > 0:
        interval = stats.ttest_ind(beside, alone, equal_var=False).confidence_interval(SLOWED_CONFIDENCE)
        low = math.exp(float(interval.low))
    else:
        low = ratio
    if ratio < SLOWED or low < SLOWED_AT_LEAST:
        return None
    return Finding(
        Sign.BASELINE_SLOWED,
        f"the baseline took {ratio:.2f} times as long beside it as alone ({low:.2f} or more; geometric means of "
        f"{len(beside_s)} calls beside it and {len(alone_s)} alone)",
    )
