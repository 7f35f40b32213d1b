"""Turns, clocks and answers, with children that say what a test tells them to."""

import contextlib
import dataclasses
import functools
import itertools
import math
import time
import zlib
from collections import Counter

import numpy as np
import pytest

from actors.draws import Draw
from actors.measure import Crowded, Measurement, Rejected, block_order, marks_of
from actors.messages import Batch, BatchRow, Job, Layout, Limits, Mark, Side, Sign, Status, Stopped
from actors.model_config import ModelConfig
from actors.sandbox import ChildFailure
from actors.side import LoadedSide, SideFailure, agree, ask_config, check_clocks, check_pixels
from actors.telemetry import Reading
from tests.actors.model_files import HONEST, model_file, plan

COUNTER = itertools.count()
CONFIG = {
    "pipeline_class": "P",
    "model_id": "m",
    "scheduler_class": "S",
    "num_inference_steps": 20,
    "methods": ["tome"],
}
LIMITS = Limits()


class FakeChild:
    """Answers as a child does, and notes in a shared list who was asked for which prompts."""

    limits = LIMITS

    def __init__(self, name="child", calls=None, seconds=1.0, size=(8, 8), draw=None, **answer):
        self.name, self.calls, self.size, self.answer = name, calls, size, answer
        self.draw = draw or (lambda prompt, seed: np.zeros((*size, 3), np.uint8))
        self.seconds = iter(seconds) if isinstance(seconds, list) else itertools.repeat(seconds)

    cpu_resolution_s = 1e-6
    stopped_cpu_s = answer_cpu_s = 0.0

    def cpu_s(self):
        return 0.0

    def pids(self):
        return []

    def ask(self, op, limit, header, payload=b"", max_payload=0, answered=lambda: None):
        if op == "config":
            return {"config": self.answer.get("config", CONFIG)}, bytearray(), 0.0
        answered()
        count = len(header["prompts"])
        if self.calls is not None:
            self.calls.append((self.name, header["prompts"], header["seeds"]))
        shape = (count, *self.size, 3)
        seconds = next(self.seconds)
        answer = {"shape": shape, "device_s": 0.99 * seconds, "denoiser_calls": 20, "peak_memory_bytes": None}
        images = [self.draw(*request) for request in zip(header["prompts"], header["seeds"], strict=True)]
        return {**answer, "alloc_retries": 0, **self.answer}, bytearray(np.stack(images).tobytes()), seconds


class FakeScorer:
    def score(self, pixels, *texts):
        return [[float(len(prompt)) for prompt in prompts] for prompts in texts]

    def truncated(self, prompts):
        return [len(prompt) > 3 for prompt in prompts]


class FakeMeter:
    """Gives one reading after the other, and the last one for good."""

    def __init__(self, *readings):
        self.readings = list(readings) or [Reading()]

    def settle(self):
        pass

    def start(self, stopped=()):
        pass

    def answered(self):
        pass

    def stop(self):
        return self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]


def side_of(child, side=Side.CANDIDATE):
    return LoadedSide(side, child, 0.1, ModelConfig("P", "m", "S", 20))


BATCHES = (Batch(("a", "bb"), (1, 2)), Batch(("cccc",), (3,)), Batch(("d",), (4,)), Batch(("e",), (5,)))
OTHERS = (Batch(("other",), (8,)),) * 8


def job_of(*batches, **changes):
    file = model_file(HONEST)
    calls = plan(batches=len(batches), **changes)
    return Job("7", 1, file, file, file, ModelConfig("P", "m", "S", 20), calls, LIMITS)


def draw_of(*timed, order="order 3", other_seeds=(), burn_in=()):
    """What is asked; with the order that is given by default the baseline begins."""
    return Draw(((),) * 4, (burn_in,) * 4, timed, OTHERS[0], OTHERS, OTHERS, other_seeds, order)


def in_turns(measurement, draw, baseline, candidate):
    """One start of both."""
    measurement.interleaved(draw, [(baseline, candidate)])


def in_blocks(measurement, draw, baseline, candidate):
    """Every block in a process of its own, but for neighbours of one side."""
    children, blocks, before = {Side.BASELINE: baseline, Side.CANDIDATE: candidate}, [], None
    for side, number in block_order(measurement.job.plan, draw):
        if side is not before:
            loaded = side_of(children[side], side)
        blocks.append((loaded, number))
        before = side
    measurement.in_blocks(draw, blocks, lambda: side_of(baseline, Side.BASELINE))


def measurement_of(job, meter=None):
    return Measurement(job, FakeScorer(), meter or FakeMeter(), contextlib.nullcontext, lambda *_: None)


def measured(baseline, candidate, *batches, meter=None, order="order 3", repeats=(), **changes):
    measurement = measurement_of(job_of(*batches, repeats=len(repeats), **changes), meter)
    draw = draw_of(*batches, *repeats, order=order)
    in_turns(measurement, draw, side_of(baseline, Side.BASELINE), side_of(candidate))
    return measurement


def test_both_sides_take_turns_on_the_same_prompts_and_seeds():
    calls = []
    measured(FakeChild("A", calls), FakeChild("B", calls), *BATCHES)
    names = [name for name, *_ in calls]
    assert names[:2] == names[3:1:-1]
    assert names[4:6] == names[:5:-1]
    for first, second in zip(calls[::2], calls[1::2], strict=True):
        assert first[1:] == second[1:]


def test_a_coin_says_which_side_begins():
    def begins(seed):
        calls = []
        measured(FakeChild("A", calls), FakeChild("B", calls), *BATCHES, order=f"order {seed}")
        return calls[0][0]

    counts = Counter(begins(seed) for seed in range(200))
    assert min(counts["A"], counts["B"]) > 60


def test_the_stopping_rule_sees_all_that_was_judged_after_every_batch():
    seen = []

    def stop(measured):
        seen.append((len(measured.batches), len(measured.images)))
        return Stopped.VERDICT if len(seen) == 2 else None

    measurement = measured(FakeChild(), FakeChild(), *BATCHES, stop=stop)
    assert seen == [(2, 2), (4, 3)]
    assert measurement.stopped is Stopped.VERDICT
    assert measured(FakeChild(), FakeChild(), *BATCHES).stopped is Stopped.BOUND


HOT = Reading(throttle_reasons=("hw_thermal_slowdown",), energy_j=900.0)


def test_a_disturbed_batch_is_kept_marked_and_another_one_judged_in_its_place():
    again = Batch(("again",), (9,))
    measurement = measured(
        FakeChild(), FakeChild(), *BATCHES, meter=FakeMeter(Reading(), HOT, Reading()), repeats=(again,)
    )
    assert [(row.batch, row.judged) for row in measurement.batches[:4]] == [(0, False)] * 2 + [(1, True)] * 2
    assert measurement.batches[1].marks == (Mark.THROTTLED,)
    assert {row.batch for row in measurement.batches if row.judged} == {1, 2, 3, 4}
    assert [row.prompt for row in measurement.images][-1] == "again"
    assert [row.turn for row in measurement.batches] == list(range(10))


def test_where_all_batches_are_disturbed_the_repeats_end_and_the_marks_stay():
    again = Batch(("again",), (9,))
    measurement = measured(FakeChild(), FakeChild(), *BATCHES, meter=FakeMeter(HOT), repeats=(again,))
    assert Counter(row.judged for row in measurement.batches) == {True: 8, False: 2}
    assert all(row.marks == (Mark.THROTTLED,) for row in measurement.batches)
    assert len({row.batch for row in measurement.batches if row.judged}) == 4


@pytest.mark.parametrize(
    ("changes", "marks"),
    [
        ({}, ()),
        ({"throttle_reasons": ("sw_power_cap",)}, ()),
        ({"throttle_reasons": ("hw_power_brake", "sw_power_cap")}, (Mark.THROTTLED,)),
        ({"foreign_processes": 2}, (Mark.FOREIGN_PROCESS,)),
        ({"foreign_processes": 1, "throttle_reasons": ("hw_slowdown",)}, (Mark.THROTTLED, Mark.FOREIGN_PROCESS)),
    ],
)
def test_marks_name_what_disturbs_and_not_how_a_card_runs(changes, marks):
    assert marks_of(dataclasses.replace(ROW, **changes)) == marks


def test_memory_that_had_to_be_taken_back_ends_the_turns():
    with pytest.raises(Crowded):
        measured(FakeChild(), FakeChild(alloc_retries=1), *BATCHES)


def test_memory_that_a_baseline_took_back_while_it_was_alone_says_nothing_of_both():
    baseline = side_of(FakeChild(alloc_retries=2), Side.BASELINE)
    baseline.warm_up(plan(), BATCHES[:1])
    measurement = measurement_of(job_of(*BATCHES))
    in_turns(measurement, draw_of(*BATCHES), baseline, side_of(FakeChild()))
    assert measurement.layout is Layout.INTERLEAVED


def test_in_blocks_the_sides_take_turns_in_blocks_and_each_batch_is_timed_once_on_both():
    calls = []
    measurement = measurement_of(job_of(*BATCHES))
    in_blocks(measurement, draw_of(*BATCHES), FakeChild("A", calls), FakeChild("B", calls, seconds=0.5))
    order = "".join(name for name, *_ in calls[:8])
    assert {order[:4], order[4:8]} <= {"ABBA", "BAAB"}
    assert Counter((row.side, row.batch, row.block) for row in measurement.batches) == Counter(
        (side, number, number) for side in Side for number in range(4)
    )
    assert [row.baseline_clip for row in measurement.images] == [1.0, 2.0, 4.0, 1.0, 1.0]
    assert (measurement.layout, measurement.stopped) == (Layout.BLOCKS, Stopped.BOUND)


@pytest.mark.parametrize(("count", "blocks"), [(1, 1), (2, 2), (3, 3), (4, 4), (10, 4)])
def test_batches_are_shared_out_among_blocks(count, blocks):
    order = block_order(plan(batches=count), draw_of())
    assert Counter(order) == Counter((side, number) for side in Side for number in range(blocks))
    assert count > 1 or order[0][0] is Side.BASELINE
    pairs = [{number for _, number in order[place : place + 2]} for place in range(0, len(order), 2)]
    assert pairs == [{number} for number in range(blocks)]


def test_the_order_of_blocks_is_drawn():
    begins = Counter(block_order(plan(batches=2), draw_of(order=f"order {seed}"))[0][0] for seed in range(200))
    assert min(begins.values()) > 60


def test_what_was_measured_in_turns_before_the_blocks_is_kept_and_not_judged():
    measurement = measurement_of(job_of(*BATCHES[:2]))
    crowded = FakeChild(alloc_retries=1)
    with pytest.raises(Crowded):
        in_turns(measurement, draw_of(*BATCHES[:2]), side_of(FakeChild(), Side.BASELINE), side_of(crowded))
    in_blocks(measurement, draw_of(*BATCHES[:2]), FakeChild(), FakeChild())
    assert [row.judged for row in measurement.batches] == [False] * 2 + [True] * 4


BURN_IN = (Batch(("x",), (6,)), Batch(("y",), (7,)))


def test_the_first_batches_in_turns_are_kept_and_not_judged():
    measurement = measurement_of(job_of(*BATCHES))
    draw = draw_of(*BATCHES, burn_in=BURN_IN)
    in_turns(measurement, draw, side_of(FakeChild(), Side.BASELINE), side_of(FakeChild()))
    first, rest = measurement.batches[:4], measurement.batches[4:]
    assert all(row.marks == (Mark.BURN_IN,) and not row.judged for row in first)
    assert all(row.judged for row in rest)
    assert [row.batch for row in measurement.batches] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert measurement.images[0].prompt == "a"


def test_a_process_that_was_loaded_for_a_block_has_first_calls_that_are_not_judged():
    measurement = measurement_of(job_of(*BATCHES[:2], burn_in=2))
    in_blocks(measurement, draw_of(*BATCHES[:2], burn_in=BURN_IN), FakeChild("A"), FakeChild("B"))
    marked = [row for row in measurement.batches if row.marks == (Mark.BURN_IN,)]
    assert len(marked) == 3 * len(BURN_IN), "A BB A, or B AA B"
    assert not {row.batch for row in marked} & {row.batch for row in measurement.batches if row.judged}


def test_every_start_has_its_share_of_the_batches_and_its_own_first_calls():
    calls = []
    starts = [(side_of(FakeChild(f"A{n}", calls), Side.BASELINE), side_of(FakeChild(f"B{n}", calls))) for n in (0, 1)]
    starts[1][0].loaded_at = starts[1][1].loaded_at + 1
    measurement = measurement_of(job_of(*BATCHES, starts=2))
    measurement.interleaved(draw_of(*BATCHES, burn_in=BURN_IN[:1]), starts)
    judged = [row for row in measurement.batches if row.judged]
    assert [row.block for row in judged] == [0] * 4 + [1] * 4
    assert {(row.block, row.side, row.started_last) for row in judged} == {
        (0, Side.BASELINE, False),
        (0, Side.CANDIDATE, True),
        (1, Side.BASELINE, True),
        (1, Side.CANDIDATE, False),
    }
    assert {name for name, *_ in calls[:6]} == {"A0", "B0"}


def test_a_pair_that_stops_asks_for_no_further_start():
    def starts():
        yield side_of(FakeChild(), Side.BASELINE), side_of(FakeChild())
        raise AssertionError("a second start")

    measurement = measurement_of(job_of(*BATCHES, starts=2, stop=lambda measured: Stopped.VERDICT))
    measurement.interleaved(draw_of(*BATCHES), starts())
    assert measurement.stopped is Stopped.VERDICT


def test_a_latency_needs_the_baseline_in_stretches_that_lie_apart(monkeypatch):
    pauses, calls = [], []
    monkeypatch.setattr(time, "sleep", pauses.append)
    measurement = measurement_of(job_of(*BATCHES, stretches=5))
    measurement.take_stretches(
        draw_of(*BATCHES), side_of(FakeChild("A", calls, seconds=7.0), Side.BASELINE), [6.0, 7.5]
    )
    assert measurement.stretches_s == [6.0, 7.5, 7.0, 7.0, 7.0]
    assert pauses == [7.0] * 3, "as long as a call, and PAUSE_S at least"
    in_turns(measurement, draw_of(*BATCHES), side_of(FakeChild(), Side.BASELINE), side_of(FakeChild()))
    assert list(measurement.measured().stretches_s) == measurement.stretches_s


def test_after_a_repeat_too_an_image_is_scored_by_the_prompt_of_another_batch():
    meter = FakeMeter(Reading(), HOT, Reading())
    images = measured(FakeChild(), FakeChild(), *BATCHES[:3], meter=meter, repeats=(Batch(("again",), (9,)),)).images
    assert [(image.prompt, image.mismatched_clip) for image in images] == [("cccc", 1.0), ("d", 5.0), ("again", 5.0)]


def test_an_image_is_also_scored_by_the_prompt_of_another_batch():
    images = measured(FakeChild(), FakeChild(), *BATCHES[1:]).images
    assert [(image.baseline_clip, image.mismatched_clip) for image in images] == [(4.0, 1.0), (1.0, 1.0), (1.0, 5.0)]


@pytest.mark.parametrize(
    ("seconds", "calls", "steady"),
    [
        ([1.0, 1.05, 1.0], 2, True),
        ([60.0, 1.0, 1.05], 3, True),
        ([60.0, 1.0, 30.0, 1.0], 4, False),
        ([4.0, 3.0, 2.0, 1.0], 4, False),
    ],
)
def test_a_side_is_warm_when_two_calls_in_a_row_agree_or_at_the_bound(seconds, calls, steady):
    side = side_of(FakeChild(seconds=seconds))
    side.warm_up(plan(warmup_at_least=2), BATCHES)
    assert (len(side.warmup_s), side.steady) == (calls, steady)


def test_a_side_is_not_warm_before_the_least_number_of_calls():
    side = side_of(FakeChild(seconds=1.0))
    side.warm_up(plan(warmup_at_least=3), BATCHES)
    assert len(side.warmup_s) == 3


def test_times_agree_by_their_ratio():
    assert agree(1.0, 1.1, 0.1) and agree(1.1, 1.0, 0.1)
    assert not agree(1.0, 1.11, 0.1)


def test_every_call_is_a_row_with_the_supervisors_clock():
    rows = measured(FakeChild(seconds=2.0), FakeChild(seconds=0.5), *BATCHES).batches
    assert [row.turn for row in rows] == list(range(8))
    assert {row.wall_s for row in rows if row.side is Side.BASELINE} == {2.0}
    assert {row.wall_s for row in rows if row.side is Side.CANDIDATE} == {0.5}
    assert [row.images for row in rows] == [2, 2, 1, 1, 1, 1, 1, 1]


def test_every_image_is_a_row_with_both_scores():
    images = measured(FakeChild(), FakeChild(), *BATCHES).images
    assert [(row.batch, row.position, row.prompt, row.seed) for row in images[:3]] == [
        (0, 0, "a", 1),
        (0, 1, "bb", 2),
        (1, 0, "cccc", 3),
    ]
    assert images[2].prompt_truncated
    assert images[1].baseline_clip == images[1].candidate_clip == 2.0


def test_a_failure_names_its_side_and_keeps_what_was_measured():
    broken = FakeChild(shape=[1, 8, 8, 3])
    measurement = measurement_of(job_of(*BATCHES))
    with pytest.raises(SideFailure) as caught:
        in_turns(measurement, draw_of(*BATCHES), side_of(FakeChild(), Side.BASELINE), side_of(broken))
    assert caught.value.side is Side.CANDIDATE
    assert len(measurement.batches) == 1


def test_what_a_child_uses_after_its_answer_is_not_of_the_call():
    child = FakeChild()
    used = iter([10.0, 19.0])
    child.cpu_s, child.answer_cpu_s = lambda: next(used), 10.5
    row, _ = side_of(child).call(BATCHES[0], 0, 0, "call_s")
    assert row.cpu_s == 0.5


def test_images_of_another_size_than_the_baselines_are_refused():
    with pytest.raises(SideFailure, match="4, 4"):
        measured(FakeChild(), FakeChild(size=(4, 4)), *BATCHES)


@pytest.mark.parametrize(
    ("shape", "size", "status"),
    [
        ((1, 8, 8, 3), 192, Status.BAD_IMAGES),
        ((2, 8, 8, 3), 383, Status.BAD_ANSWER),
        ((2, 8, 8, 4), 512, Status.BAD_ANSWER),
        ((2, 8, 8), 128, Status.BAD_ANSWER),
        ((2, 0, 8, 3), 0, Status.BAD_ANSWER),
        ((2, -8, -8, 3), 384, Status.BAD_ANSWER),
        ((2, 2**40, 2**40, 3), 384, Status.BAD_ANSWER),
        ((), 0, Status.BAD_ANSWER),
    ],
)
def test_pixels_must_fit_their_shape_and_their_prompts(shape, size, status):
    with pytest.raises(ChildFailure) as caught:
        check_pixels(shape, bytearray(size), 2)
    assert caught.value.status is status


@pytest.mark.parametrize(
    "answer",
    [
        {"shape": None},
        {"shape": "abcd"},
        {"device_s": "fast"},
        {"device_s": None},
        {"denoiser_calls": -1},
        {"denoiser_calls": True},
        {"shape": [True, 8, 8, 3]},
        {"shape": list(range(100_000))},
        {"denoiser_calls": 1e400},
        {"denoiser_calls": [1]},
        {"alloc_retries": "none"},
        {"peak_memory_bytes": 2**80},
        {"shape": [float("inf")] * 4},
    ],
)
def test_an_answer_with_a_wrong_field_breaks_the_protocol(answer):
    with pytest.raises(ChildFailure) as caught:
        side_of(FakeChild(**answer)).call(BATCHES[0], 0, 0, "call_s")
    assert caught.value.status is Status.BAD_ANSWER


def nested():
    """Lists in lists: `repr` and `str` of them end in a RecursionError."""
    return functools.reduce(lambda inner, _: [inner], range(100_000), [])


@pytest.mark.parametrize("value", ["x" * 1_000_000, nested()], ids=["long", "deep"])
@pytest.mark.parametrize("field", ["shape", "device_s", "denoiser_calls", "alloc_retries", "num_inference_steps"])
def test_no_claim_is_too_long_or_too_deep_to_be_refused_in_a_line(field, value):
    child = FakeChild(config={**CONFIG, field: value}, **{field: value})
    with pytest.raises(ChildFailure) as caught:
        ask_config(child) if field in CONFIG else side_of(child).call(BATCHES[0], 0, 0, "call_s")
    assert caught.value.status is Status.BAD_ANSWER
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize("field", ["pipeline_class", "model_id", "scheduler_class"])
def test_a_fact_is_a_text_of_some_hundred_characters(field):
    assert len(getattr(ask_config(FakeChild(config={**CONFIG, field: "x" * 1_000_000})), field)) == 500
    with pytest.raises(ChildFailure, match="a list where a text belongs"):
        ask_config(FakeChild(config={**CONFIG, field: nested()}))


@pytest.mark.parametrize(
    "config",
    [
        None,
        [],
        {},
        {**CONFIG, "num_inference_steps": "many"},
        {**CONFIG, "num_inference_steps": 24.9},
        {**CONFIG, "methods": "tome"},
    ],
)
def test_a_wrong_configuration_breaks_the_protocol(config):
    with pytest.raises(ChildFailure) as caught:
        ask_config(FakeChild(config=config))
    assert caught.value.status is Status.BAD_ANSWER


def test_methods_that_nobody_knows_are_not_taken():
    config = {**CONFIG, "methods": ["tome", "my own invention", ["deepcache"]]}
    assert ask_config(FakeChild(config=config)).methods == ("tome",)


def test_a_configuration_is_taken_as_it_is_said():
    assert ask_config(FakeChild()) == ModelConfig("P", "m", "S", 20, ("tome",))


ROW = BatchRow(0, 0, Side.CANDIDATE, 4, 2.0, 1.98, 20, None, 0.0)


@pytest.mark.parametrize("device_s", [1.98, 1.8, 2.0])
def test_clocks_that_agree_pass(device_s):
    check_clocks(dataclasses.replace(ROW, device_s=device_s), LIMITS)


@pytest.mark.parametrize("device_s", [0.0, -1.0, 0.5, 1.7, 2.1, float("nan"), float("inf")])
def test_a_clock_that_tells_another_time_does_not(device_s):
    with pytest.raises(ChildFailure) as caught:
        check_clocks(dataclasses.replace(ROW, device_s=device_s), LIMITS)
    assert caught.value.status is Status.CLOCK_MISMATCH


def picture(*request):
    """A picture of its own for every prompt and seed: patches of colour, and fine grain."""
    random = np.random.default_rng(zlib.crc32(repr(request).encode()))
    patches = np.kron(random.integers(40, 216, (4, 4, 3)), np.ones((16, 16, 1), int))
    return (patches + random.integers(-12, 13, (64, 64, 3))).astype(np.uint8)


def drawn(draw, baseline=picture, batches=BATCHES, **changes):
    """What is seen of a candidate that draws like this. The measurement, and whether it was rejected."""
    calls = []
    order = changes.pop("order", "order 3")
    measurement = measurement_of(job_of(*batches, **changes))
    try:
        sides = FakeChild("A", draw=baseline, size=(64, 64)), FakeChild("B", calls, draw=draw, size=(64, 64))
        draws = draw_of(*batches, order=order, other_seeds=(77, 78))
        in_turns(measurement, draws, side_of(sides[0], Side.BASELINE), side_of(sides[1]))
    except Rejected as rejected:
        return measurement, calls, rejected.finding.sign
    return measurement, calls, None


PAIRS = (Batch(("a", "bb"), (1, 2)), Batch(("cccc", "d"), (3, 4)), Batch(("e", "ff"), (5, 6)))


def test_an_honest_candidate_is_asked_for_one_batch_again_with_another_seed_for_half_of_it():
    measurement, calls, rejected = drawn(picture, batches=PAIRS)
    ((_, prompts, seeds),) = calls[len(PAIRS) :]
    (judged,) = [batch for batch in PAIRS if batch.prompts == prompts]
    assert seeds == (judged.seeds[0], 78)
    assert (rejected, measurement.findings) == (None, {})


def test_a_candidate_whose_first_seed_draws_all_images_is_asked_for_the_whole_batch():
    """As does a `pipe_forward` that takes no generator: the global one is seeded with the first."""

    class ByTheFirst(FakeChild):
        def ask(self, op, limit, header, *rest, **more):
            if op == "generate":
                header = {**header, "seeds": [header["seeds"][0]] * len(header["seeds"])}
            return super().ask(op, limit, header, *rest, **more)

    calls = []
    measurement = measurement_of(job_of(*PAIRS))
    child = ByTheFirst("B", calls, draw=picture, size=(64, 64))
    baseline = side_of(FakeChild(draw=picture, size=(64, 64)), Side.BASELINE)
    in_turns(measurement, draw_of(*PAIRS, other_seeds=(77, 78)), baseline, side_of(child))
    assert [seeds[0] for _, _, seeds in calls[len(PAIRS) + 1 :]] == [measurement._sample.batch.seeds[0], 77]
    assert not measurement.findings.keys() & {Sign.SEED_IGNORED, Sign.NOT_REPEATABLE}


def test_a_batch_of_one_is_asked_for_again_and_then_with_another_seed():
    measurement, calls, rejected = drawn(picture, batches=BATCHES[1:])
    (again, reseeded) = calls[len(BATCHES[1:]) :]
    assert again in calls[: len(BATCHES[1:])]
    assert (reseeded[1], reseeded[2]) == (again[1], (77,))
    assert (rejected, measurement.findings) == (None, {})
    assert [image.ssim for image in measurement.images] == [pytest.approx(1.0)] * 3
    assert {(image.psnr, image.signs) for image in measurement.images} == {(math.inf, ())}
    assert len(measurement.batches) == 2 * len(BATCHES[1:]), "what is asked again is not timed"


def test_the_batch_that_is_asked_for_again_is_drawn_by_lot():
    first = Counter(drawn(picture, order=f"order {seed}")[1][len(BATCHES)][1] for seed in range(40))
    assert len(first) == len(BATCHES)


@pytest.mark.parametrize(
    ("draw", "sign"),
    [
        (lambda prompt, seed: picture(prompt), Sign.SEED_IGNORED),
        (lambda prompt, seed: picture(prompt, next(COUNTER)), Sign.NOT_REPEATABLE),
        (lambda prompt, seed: np.full((64, 64, 3), 9, np.uint8), Sign.BLANK_IMAGE),
        (lambda prompt, seed: picture("always", "the same"), Sign.DUPLICATE_IMAGES),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_cheat_is_rejected_unless_the_baseline_does_the_same(draw, sign):
    measurement, _, rejected = drawn(draw)
    assert rejected is sign
    assert measurement.findings[sign].evidence
    assert drawn(draw, baseline=draw)[2] is None


def test_a_sign_that_does_not_reject_is_kept_as_a_warning():
    measurement, _, rejected = drawn(lambda prompt, seed: picture(prompt), reject=frozenset())
    assert rejected is None
    assert Sign.SEED_IGNORED in measurement.findings
    assert measurement.stopped is Stopped.BOUND


def test_what_shows_in_one_image_ends_the_pair_at_once_and_keeps_what_was_timed():
    measurement, calls, _ = drawn(lambda prompt, seed: np.zeros((64, 64, 3), np.uint8))
    assert len(calls) == 1
    assert len(measurement.batches) == 2
    assert measurement.images[0].signs == (Sign.BLANK_IMAGE,)


def test_a_call_faster_than_any_method_is_a_sign():
    measurement = measurement_of(job_of(*BATCHES))
    measurement.floor_s = 0.3  # of an image
    with pytest.raises(Rejected, match=r"too_fast: a call took 0\.5"):
        in_turns(measurement, draw_of(*BATCHES), side_of(FakeChild(), Side.BASELINE), side_of(FakeChild(seconds=0.5)))
    slow = measured(FakeChild(), FakeChild(seconds=0.5), *BATCHES)
    assert not slow.findings


@pytest.mark.parametrize(
    ("timed", "rejected"), [(20, False), (25, False), (15, False), (14, True), (0, True), (None, True)]
)
def test_a_candidate_that_works_less_than_in_its_warm_up_is_rejected(timed, rejected):
    child = FakeChild()
    candidate = side_of(child)
    candidate.warm_up(plan(warmup_at_least=2), BATCHES[:2])
    child.answer["denoiser_calls"] = timed
    measurement = measurement_of(job_of(*BATCHES))
    with pytest.raises(Rejected, match="changed_work") if rejected else contextlib.nullcontext():
        in_turns(measurement, draw_of(*BATCHES), side_of(FakeChild(), Side.BASELINE), candidate)


def test_a_denoiser_that_is_called_less_often_than_the_baselines_is_a_warning():
    measurement = measured(FakeChild(), FakeChild(denoiser_calls=10), *BATCHES)
    assert "10 calls of its denoiser, 20 of the baseline's" in measurement.findings[Sign.FEWER_CALLS].evidence
    assert not measured(FakeChild(denoiser_calls=10), FakeChild(), *BATCHES).findings


@pytest.mark.parametrize(
    ("beside", "alone", "slowed"), [(1.0, 1.0, False), (2.0, 1.0, True), (2.0, 2.0, False), (1.05, 1.0, False)]
)
def test_a_baseline_that_is_slower_beside_a_candidate_than_alone_is_a_sign(beside, alone, slowed):
    baseline = side_of(FakeChild(seconds=[beside] * 4 + [alone] * 4), Side.BASELINE)
    baseline.warmup_s = [9.0, 1.0, 1.0]
    measurement = measurement_of(job_of(*BATCHES))
    in_turns(measurement, draw_of(*BATCHES), baseline, side_of(FakeChild()))
    assert measurement.looks_slowed(baseline) == (beside == 2.0)
    with pytest.raises(Rejected, match="baseline_slowed") if slowed else contextlib.nullcontext():
        measurement.time_alone(draw_of(*BATCHES), baseline)


def test_two_turns_that_are_slow_by_far_are_reason_enough_to_look():
    baseline = side_of(FakeChild(seconds=[0.5, 0.4, 2.1, 2.1]), Side.BASELINE)
    baseline.warmup_s = [9.0, 1.0]
    measurement = measurement_of(job_of(*BATCHES))
    in_turns(measurement, draw_of(*BATCHES), baseline, side_of(FakeChild()))
    assert measurement.looks_slowed(baseline)


def test_nothing_of_ours_runs_while_the_baseline_is_timed_alone():
    held = []

    @contextlib.contextmanager
    def stillness():
        held.append(True)
        yield

    measurement = Measurement(job_of(*BATCHES), FakeScorer(), FakeMeter(), stillness, lambda *_: None)
    in_turns(measurement, draw_of(*BATCHES), baseline := side_of(FakeChild(), Side.BASELINE), side_of(FakeChild()))
    calls = len(held)
    measurement.time_alone(draw_of(*BATCHES), baseline)
    assert (calls, len(held)) == (2 * len(BATCHES), calls + 1)


def test_in_blocks_the_same_is_asked_at_the_candidates_end_and_held_against_the_baseline():
    def blocks(draw, baseline=picture):
        calls = []
        measurement = measurement_of(job_of(*BATCHES))
        a, b = FakeChild("A", draw=baseline, size=(64, 64)), FakeChild("B", calls, draw=draw, size=(64, 64))
        in_blocks(measurement, draw_of(*BATCHES, other_seeds=(77, 78)), a, b)
        return measurement, calls

    measurement, calls = blocks(picture)
    assert len(BATCHES) + 1 <= len(calls) <= len(BATCHES) + 2
    assert not measurement.findings
    with pytest.raises(Rejected, match="seed_ignored"):
        blocks(lambda prompt, seed: picture(prompt))
    assert not blocks(lambda prompt, seed: picture(prompt), baseline=lambda prompt, seed: picture(prompt))[0].findings


@pytest.mark.parametrize("operations", [None, -1, "many", 1.5, True])
def test_work_that_is_no_count_breaks_the_protocol(operations):
    child = FakeChild()
    child.ask = lambda *_, **__: ({"operations": operations} if operations is not None else {}, bytearray(), 1.0)
    with pytest.raises(ChildFailure, match="work: a field is missing or wrong"):
        side_of(child).count_work(BATCHES[0])
