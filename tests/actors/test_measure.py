"""Turns, clocks and answers, with children that say what a test tells them to."""

import dataclasses

import numpy as np
import pytest

from actors.measure import LoadedSide, Measurement, SideFailure, ask_config, check_clocks, check_pixels
from actors.messages import Batch, BatchRow, Job, Limits, Side, Status
from actors.model_config import ModelConfig
from actors.sandbox import ChildFailure
from tests.actors.model_files import HONEST, model_file

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

    def __init__(self, name="child", calls=None, seconds=1.0, size=(8, 8), **answer):
        self.name, self.calls, self.seconds, self.size, self.answer = name, calls, seconds, size, answer

    def ask(self, op, limit, header, payload=b"", max_payload=0):
        if op == "config":
            return {"config": self.answer.get("config", CONFIG)}, bytearray(), 0.0
        count = len(header["prompts"])
        if self.calls is not None:
            self.calls.append((self.name, header["prompts"], header["seeds"]))
        shape = (count, *self.size, 3)
        answer = {"shape": shape, "device_s": 0.99 * self.seconds, "denoiser_calls": 20, "peak_memory_bytes": None}
        return {**answer, **self.answer}, bytearray(int(np.prod(shape))), self.seconds


class FakeScorer:
    def score(self, pixels, prompts):
        return [float(len(prompt)) for prompt in prompts]

    def truncated(self, prompts):
        return [len(prompt) > 3 for prompt in prompts]


def side_of(child, side=Side.CANDIDATE):
    return LoadedSide(side, child, 0.1, ModelConfig("P", "m", "S", 20))


def job_of(*batches):
    file = model_file(HONEST)
    return Job("7", 1, file, file, file, ModelConfig("P", "m", "S", 20), (), batches, LIMITS)


BATCHES = (Batch(("a", "bb"), (1, 2)), Batch(("cccc",), (3,)), Batch(("d",), (4,)), Batch(("e",), (5,)))


def measured(baseline, candidate, *batches):
    measurement = Measurement(job_of(*batches), side_of(baseline, Side.BASELINE), side_of(candidate), FakeScorer())
    measurement.run(lambda phase, done: None)
    return measurement


def test_both_sides_take_turns_on_the_same_prompts_and_seeds():
    calls = []
    measured(FakeChild("A", calls), FakeChild("B", calls), *BATCHES)
    assert [name for name, *_ in calls] == ["A", "B", "B", "A", "A", "B", "B", "A"]
    for first, second in zip(calls[::2], calls[1::2], strict=True):
        assert first[1:] == second[1:]


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
    measurement = Measurement(job_of(*BATCHES), side_of(FakeChild(), Side.BASELINE), side_of(broken), FakeScorer())
    with pytest.raises(SideFailure) as caught:
        measurement.run(lambda phase, done: None)
    assert caught.value.side is Side.CANDIDATE
    assert len(measurement.batches) == 1


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
        {"peak_memory_bytes": 2**80},
        {"shape": [float("inf")] * 4},
    ],
)
def test_an_answer_with_a_wrong_field_breaks_the_protocol(answer):
    with pytest.raises(ChildFailure) as caught:
        side_of(FakeChild(**answer)).call(BATCHES[0], 0, 0, "call_s")
    assert caught.value.status is Status.BAD_ANSWER


@pytest.mark.parametrize(
    "config",
    [None, [], {}, {**CONFIG, "num_inference_steps": "many"}, {**CONFIG, "methods": 3}],
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
