"""One actor, in this process, with real children: what becomes of a pair, and what is kept for the next."""

import dataclasses
import itertools
import signal
import time
from collections import Counter
from types import SimpleNamespace

import psutil
import pytest
import torch

from actors import gpu_actor
from actors.gpu_actor import ConfigMismatch, GpuActor
from actors.machine import DeviceError
from actors.measure import Crowded, Measurement, Rejected
from actors.messages import Finding, Job, Layout, Limits, SandboxSpec, ScorerSpec, Side, Sign, Status
from actors.model_config import ModelConfig
from actors.sandbox import ChildFailure, tier_problem
from actors.scoring import Scorer, ScorerError
from actors.side import SideFailure
from actors.tiers import Device
from harness.embedded import EMBEDDED_SCORERS
from tests.actors.model_files import CAPTIONS, HONEST, honest_but, model_file, plan

CLIP = ScorerSpec(f"local-dir:{EMBEDDED_SCORERS['diffharness/tiny-shapes-clip']}")
LIMITS = Limits(load_s=60, warmup_s=60, call_s=60)
UNKNOWN = ModelConfig(None, None, None, None)
SANDBOX = SandboxSpec(tiers=("bwrap", "process"), models={}, threads=1, preimports=("torch",))


@pytest.fixture(scope="module")
def actor():
    actor = GpuActor(SANDBOX, CLIP, LIMITS, CAPTIONS, "cpu 0", gpu=False)
    yield actor
    actor.close()


def job(candidate: str, baseline: str = HONEST, reference: ModelConfig = UNKNOWN, reference_file: str = HONEST) -> Job:
    files = model_file(baseline), model_file(candidate), model_file(reference_file)
    return Job("7", 1, *files, reference, plan(), LIMITS)


def test_a_good_pair_is_measured_with_all_that_belongs_to_it(actor):
    outcome = actor.measure(job(honest_but(call="brightness = 0.25")), more_to_come=0)
    assert (outcome.status, outcome.detail) == (Status.MEASURED, "")
    assert len(outcome.batches) == 4
    assert len(outcome.images) == 4
    assert outcome.candidate.config.pipeline_class == "GreyPipeline"
    assert outcome.candidate.warmup_s[0] > 0
    assert outcome.machine.sandbox == ("process" if tier_problem("bwrap") else "bwrap")
    assert outcome.machine.scorer.startswith("local-dir:")
    assert outcome.wall_s > 0


def test_a_warm_baseline_is_kept_for_the_next_pair_and_another_one_is_not(actor):
    actor.measure(job(HONEST), more_to_come=1)
    first = actor.measure(job(honest_but(call="brightness = 0.1")), more_to_come=1)
    other = actor.measure(job(HONEST, baseline=honest_but(call="brightness = 0.9")), more_to_come=0)
    assert first.baseline.warm_from_before
    assert not other.baseline.warm_from_before


def test_a_candidate_has_the_kernels_that_cuda_compiled_for_the_baseline_and_leaves_none_to_the_next(actor):
    compiled = "import os, pathlib; kernels = pathlib.Path(os.environ['CUDA_CACHE_PATH'])"
    fills = compiled + "; kernels.mkdir(exist_ok=True); (kernels / 'index').write_text('of the baseline')"
    looks = compiled + "; assert sorted(path.name for path in kernels.rglob('*')) == ['index']"
    adds = looks + "; assert (kernels / 'index').read_text() == 'of the baseline'; (kernels / 'mine').write_text('')"
    for _ in range(2):
        outcome = actor.measure(job(honest_but(load=adds), baseline=honest_but(call=fills)), more_to_come=0)
        assert (outcome.status, outcome.detail) == (Status.MEASURED, "")


def test_a_profiled_child_is_timed_again_unless_that_failed_or_it_may_have_cuda_graphs():
    def usable(profile, *methods):
        config = dataclasses.replace(UNKNOWN, methods=methods)
        side = SimpleNamespace(side=Side.BASELINE, config=config, take_profile=profile)
        actor = SimpleNamespace(device=Device("H100", "GPU-1", 0), _now=lambda *_: None)
        planned = dataclasses.replace(job(HONEST), plan=plan(profile=True))
        return GpuActor._profile(actor, planned, side, None)

    def fails(batch):
        raise ChildFailure(Status.TIMEOUT, "profile: no answer")

    assert usable(lambda batch: None)
    assert not usable(lambda batch: None, "torch_compile")
    assert not usable(fails)


def test_a_live_pipeline_that_is_not_the_references_is_not_timed(actor):
    stated = ModelConfig("GreyPipeline", "another/model", None, None)
    outcome = actor.measure(job(HONEST, reference=stated), more_to_come=0)
    assert outcome.status is Status.CONFIG_MISMATCH
    assert "another/model" in outcome.detail
    assert outcome.batches == ()


def test_steps_that_show_only_in_a_call_are_compared_after_the_warm_up(actor):
    hidden = honest_but(call="self.scheduler = type('Scheduler', (), {'num_inference_steps': 7})()")
    stated = ModelConfig("GreyPipeline", "tests/grey", None, 20)
    outcome = actor.measure(job(hidden, reference=stated), more_to_come=0)
    assert outcome.status is Status.CONFIG_MISMATCH
    assert outcome.detail == "num_inference_steps: reference 20, candidate 7"
    assert outcome.candidate.warmup_s, "known only after a call"
    assert outcome.batches == ()


def test_what_a_references_source_leaves_open_is_taken_from_its_live_pipeline(actor):
    renamed = HONEST.replace("GreyPipeline", "DarkPipeline")
    outcome = actor.measure(job(HONEST, reference_file=renamed), more_to_come=0)
    assert outcome.status is Status.CONFIG_MISMATCH
    assert "reference DarkPipeline, candidate GreyPipeline" in outcome.detail


def test_a_candidates_failure_is_its_own_and_leaves_the_actor_well(actor):
    outcome = actor.measure(job(honest_but(call="raise RuntimeError('no luck')")), more_to_come=1)
    assert outcome.status is Status.CALL_ERROR
    assert "no luck" in outcome.detail
    assert "Traceback" in outcome.log
    assert outcome.baseline is not None
    assert actor.measure(job(HONEST), more_to_come=0).status is Status.MEASURED


def test_a_baselines_failure_is_not_the_candidates(actor):
    outcome = actor.measure(job(HONEST, baseline=honest_but(load="import os; os._exit(1)")), more_to_come=0)
    assert outcome.status is Status.BASELINE_FAILED
    assert "exited" in outcome.detail
    assert actor.measure(job(HONEST), more_to_come=0).status is Status.MEASURED


def test_a_references_failure_is_not_the_candidates_and_leaves_the_baseline_warm(actor):
    broken = honest_but(load="raise RuntimeError('no weights')")
    outcome = actor.measure(job(HONEST, reference_file=broken), more_to_come=0)
    assert outcome.status is Status.BASELINE_FAILED
    assert outcome.detail.startswith("of the reference")
    assert actor.measure(job(HONEST), more_to_come=0).baseline.warm_from_before


def test_a_reference_that_memory_does_not_hold_beside_the_baseline_is_looked_at_without_it(actor, monkeypatch):
    loads, reference = actor._load, HONEST + "# in a file of its own"

    def load(side, file, job, kernels=b""):
        if file.source == reference.encode() and actor._kept is not None:
            raise ChildFailure(Status.OUT_OF_MEMORY, "load: CUDA out of memory")
        return loads(side, file, job, kernels)

    monkeypatch.setattr(actor, "_load", load)
    actor.measure(job(HONEST), more_to_come=0)
    outcome = actor.measure(job(HONEST, reference_file=reference), more_to_come=0)
    assert (outcome.status, outcome.detail, outcome.attempt) == (Status.MEASURED, "", 1)
    assert not outcome.baseline.warm_from_before


def test_a_baseline_that_was_ended_to_get_memory_back_is_not_asked_for_its_profile(actor, monkeypatch):
    profiled = []
    monkeypatch.setattr(actor, "_profile", lambda job, side, batch: profiled.append(side.side) or True)
    monkeypatch.setattr(actor, "_profiles", {})
    monkeypatch.setattr(actor, "_health", FakeHealth(held="8 GiB are held by process 9"))
    monkeypatch.setattr(Measurement, "looks_slowed", lambda *_: True)
    outcome = actor.measure(job(HONEST), more_to_come=0)
    assert (outcome.status, profiled) == (Status.MEASURED, [Side.CANDIDATE])


def test_a_candidate_whose_profile_failed_does_not_run_beside_the_baselines(actor, monkeypatch):
    alive = {}

    def profile(job, side, batch):
        alive[side.side] = side.child.alive
        if side.side is Side.BASELINE:
            alive["candidate then"] = candidate[0].child.alive
        candidate.append(side)
        return side.side is Side.BASELINE

    candidate = []
    monkeypatch.setattr(actor, "_profile", profile)
    monkeypatch.setattr(actor, "_profiles", {})
    assert actor.measure(job(HONEST), more_to_come=0).status is Status.MEASURED
    assert alive == {Side.CANDIDATE: True, Side.BASELINE: True, "candidate then": False}


@pytest.mark.parametrize(("scored", "status"), [(0, Status.BASELINE_FAILED), (2, Status.OUT_OF_MEMORY)])
def test_scoring_without_memory_is_held_against_a_candidate_that_is_loaded(actor, monkeypatch, scored, status):
    def crowded(self, draw, starts):
        next(starts)
        raise Crowded("no memory beside each other")

    def score(images, *texts):
        if next(count) >= scored:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [[1.0] * len(images) for _ in texts]

    count = itertools.count()
    monkeypatch.setattr(Measurement, "interleaved", crowded)
    monkeypatch.setattr(actor.scorer, "score", score)
    assert actor.measure(job(HONEST), more_to_come=0).status is status, "two batches of the baseline come first"


def test_a_warm_baseline_that_died_while_idle_is_loaded_again(actor):
    actor.measure(job(HONEST), more_to_come=0)
    actor._kept[1].child.process.kill()
    actor._kept[1].child.process.wait()
    outcome = actor.measure(job(HONEST), more_to_come=0)
    assert outcome.status is Status.MEASURED
    assert not outcome.baseline.warm_from_before


def test_where_memory_does_not_hold_both_they_are_measured_in_blocks(actor, monkeypatch):
    def crowded(self, draw, starts):
        next(starts)
        raise Crowded("no memory beside each other")

    monkeypatch.setattr(Measurement, "interleaved", crowded)
    monkeypatch.setattr(actor, "_health", FakeHealth())
    outcome = actor.measure(job(HONEST), more_to_come=0)
    assert (outcome.status, outcome.layout) == (Status.MEASURED, Layout.BLOCKS)
    first, second = "ABBA" in order(outcome), "BAAB" in order(outcome)
    assert first != second
    assert Counter((row.side, row.batch, row.block) for row in outcome.batches) == Counter(
        (side, number, number) for side in Side for number in (0, 1)
    )
    assert len(outcome.images) == 4
    assert not outcome.baseline.warm_from_before, "it was loaded for this pair"
    assert actor._health.calls.count("note") == 2 + (not first), "whenever a candidate was loaded"
    assert "wait_back" in actor._health.calls


def order(outcome):
    """The sides of the judged calls, in the order of time."""
    return "".join("A" if row.side is Side.BASELINE else "B" for row in outcome.batches if row.judged)


def test_both_processes_are_started_anew_as_often_as_was_asked_for_and_a_coin_says_which_first(actor):
    planned = dataclasses.replace(job(HONEST), plan=plan(starts=4, batches=4))
    outcome = actor.measure(planned, more_to_come=0)
    assert outcome.status is Status.MEASURED, outcome.detail
    candidates = [row for row in outcome.batches if row.side is Side.CANDIDATE]
    assert [row.block for row in candidates] == [0, 1, 2, 3]
    assert candidates[0].started_last
    assert sum(row.started_last for row in candidates) == 2
    assert not outcome.baseline.warm_from_before


def test_a_latency_has_the_stretches_of_earlier_pairs_of_this_baseline(actor, monkeypatch):
    monkeypatch.setattr("actors.measure.PAUSE_S", 0.0)
    timed = honest_but(call="import time; time.sleep(0.01)")
    planned = dataclasses.replace(job(timed, baseline=timed), plan=plan(stretches=8))
    first, second = (actor.measure(planned, more_to_come=0).stretches_s for _ in range(2))
    assert (len(first), len(second)) == (8, 8)
    assert len(set(first) & set(second)) == 0
    assert len(actor._stretches[planned.baseline.sha256, 2]) == 2


def test_a_candidate_without_memory_even_alone_is_out_of_memory(actor):
    greedy = honest_but(call="raise torch.OutOfMemoryError('CUDA out of memory')")
    actor._drop_baseline()
    outcome = actor.measure(job(greedy), more_to_come=0)
    assert outcome.status is Status.OUT_OF_MEMORY
    assert not outcome.baseline.warm_from_before, "this pair has warmed it up"
    assert actor.measure(job(HONEST), more_to_come=0).status is Status.MEASURED


def test_time_between_pairs_counts(actor):
    actor.measure(job(HONEST), more_to_come=0)
    time.sleep(0.3)
    assert 0.3 <= actor.measure(job(HONEST), more_to_come=0).idle_s < 1.0


def test_the_harness_own_failure_is_an_outcome_too(actor, monkeypatch):
    monkeypatch.setattr(actor.scorer, "score", lambda *_: 1 / 0)
    outcome = actor.measure(job(HONEST), more_to_come=0)
    assert outcome.status is Status.INFRASTRUCTURE
    assert "ZeroDivisionError" in outcome.log


def test_progress_tells_the_pair_while_it_runs_and_idle_after(actor, monkeypatch):
    seen = []
    now = actor._now
    monkeypatch.setattr(actor, "_now", lambda *args: (now(*args), seen.append(actor.progress())))
    actor.measure(dataclasses.replace(job(HONEST), pair="42"), more_to_come=0)
    assert [(p.pair, p.batch) for p in seen if p.phase == "measuring"] == [("42", 0), ("42", 1)]
    assert seen[-1].phase == "idle"


class FakeHealth:
    """A GPU's health as a test tells it; `calls` holds what was asked."""

    def __init__(self, fault="", held="", still="", crowd="", lost=False):
        self.found, self.held, self.still, self.crowd, self.lost = fault, held, still, crowd, lost
        self.calls = []

    def note(self):
        self.calls.append("note")

    def wait_back(self, spares):
        self.calls.append("wait_back")
        return self.held

    def wait_alone(self):
        self.calls.append("wait_alone")
        return self.still

    def fault(self):
        self.calls.append("fault")
        return self.found

    def require_own_context(self):
        if self.lost:
            raise DeviceError("the actor has lost its GPU")


def attempts(actor, monkeypatch, *ends, **health):
    """Has the actor's attempts at a pair end so in turn: a SideFailure, another exception, or None for a good one.

    Returns the fake health, and the number of every attempt that was begun.
    """
    began, left = [], list(ends)

    def measure(job, more_to_come, found):
        began.append(job.attempt)
        end = left.pop(0)
        found.tried = True
        if end is not None:
            raise end

    fake = FakeHealth(**health)
    monkeypatch.setattr(actor, "_measure", measure)
    monkeypatch.setattr(actor, "_health", fake)
    return fake, began


def failed(side: Side, status: Status, killed_by: int | None = None) -> SideFailure:
    return SideFailure(side, ChildFailure(status, "generate: in vain", signal=killed_by))


def test_after_a_failure_the_memory_is_waited_for_and_the_gpu_is_checked(actor, monkeypatch):
    end = failed(Side.CANDIDATE, Status.CALL_ERROR)
    fake, began = attempts(actor, monkeypatch, end, fault="12 numbers are wrong")
    outcome = actor.measure(job(HONEST), more_to_come=0)
    assert (outcome.status, outcome.device_problem) == (Status.CALL_ERROR, "12 numbers are wrong")
    assert fake.calls == ["wait_back", "fault"]
    assert (began, actor._kept, actor._spares.children) == ([1], None, [])


def test_after_a_pair_that_ended_well_the_gpu_is_not_computed_on(actor, monkeypatch):
    for end in (None, ConfigMismatch("another model")):
        fake, _ = attempts(actor, monkeypatch, end, fault="12 numbers are wrong")
        assert actor.measure(job(HONEST), more_to_come=0).device_problem == ""
        assert fake.calls == ["wait_back"]


def test_memory_that_is_held_until_all_children_are_gone_is_noted_and_no_more(actor, monkeypatch):
    fake, _ = attempts(actor, monkeypatch, None, held="8 GiB are held by process 9")
    outcome = actor.measure(job(HONEST), more_to_come=0)
    assert (outcome.status, outcome.device_problem) == (Status.MEASURED, "")
    assert outcome.log == "8 GiB are held by process 9"
    assert fake.calls == ["wait_back", "wait_alone"]


def test_a_gpu_whose_memory_stays_held_is_not_trusted_even_where_the_pair_was_measured(actor, monkeypatch):
    attempts(actor, monkeypatch, None, held="8 GiB", still="8 GiB are still held")
    outcome = actor.measure(job(HONEST), more_to_come=0)
    assert (outcome.status, outcome.device_problem) == (Status.MEASURED, "8 GiB are still held")


def test_a_sigkill_is_tried_once_more_only_if_the_kernel_has_killed_for_memory(actor, monkeypatch):
    killed = failed(Side.CANDIDATE, Status.KILLED, signal.SIGKILL)
    attempts(actor, monkeypatch, killed)
    assert actor.measure(job(HONEST), more_to_come=0).attempt == 1
    kills = itertools.count()
    monkeypatch.setattr(gpu_actor, "oom_kills", lambda: next(kills))
    attempts(actor, monkeypatch, killed, killed)
    outcome = actor.measure(job(HONEST), more_to_come=0)
    assert (outcome.status, outcome.attempt) == (Status.KILLED, 2)
    assert "this was the second attempt; the first ended as killed" in outcome.detail
    attempts(actor, monkeypatch, killed, None)
    outcome = actor.measure(job(HONEST), more_to_come=0)
    assert (outcome.status, outcome.attempt, outcome.detail) == (Status.MEASURED, 2, "")
    assert "for memory" in outcome.log


def test_an_actor_makes_two_attempts_at_most_and_each_has_a_key_of_its_own(actor, monkeypatch):
    end = failed(Side.BASELINE, Status.CALL_ERROR)
    keys = []
    _, began = attempts(actor, monkeypatch, end, end)
    monkeypatch.setattr(actor, "_is_blamed_on_candidate", lambda job, found: keys.append(job.plan.key))
    outcome = actor.measure(dataclasses.replace(job(HONEST), attempt=2), more_to_come=0)
    assert (outcome.attempt, began) == (3, [2, 3])
    assert keys != [job(HONEST).plan.key]


@pytest.mark.parametrize(
    ("alone", "oom_kills", "status"),
    [
        ("pass", [0], Status.HINDERED_BASELINE),
        ("raise RuntimeError('always')", [0], Status.BASELINE_FAILED),
        ("pass", [0, 1, 2, 3, 4, 5], Status.BASELINE_FAILED),
    ],
)
def test_a_baseline_that_fails_beside_a_candidate_and_works_alone_is_held_against_it(
    actor, monkeypatch, alone, oom_kills, status
):
    kills = itertools.chain(oom_kills, itertools.repeat(oom_kills[-1]))
    monkeypatch.setattr(gpu_actor, "oom_kills", lambda: next(kills))
    end = failed(Side.BASELINE, Status.TIMEOUT)
    attempts(actor, monkeypatch, end, end)
    outcome = actor.measure(job(HONEST, baseline=honest_but(call=alone)), more_to_come=0)
    assert outcome.status is status


def test_a_baseline_that_fails_beside_a_candidate_is_loaded_anew_and_the_pair_tried_again(actor, monkeypatch):
    ended = []
    spare = SimpleNamespace(end=lambda: ended.append("spare"))
    actor._end_children()
    monkeypatch.setattr(actor._spares, "children", [spare])
    _, began = attempts(actor, monkeypatch, failed(Side.BASELINE, Status.CALL_ERROR), None)
    outcome = actor.measure(job(HONEST), more_to_come=0)
    assert (outcome.status, outcome.attempt, began) == (Status.MEASURED, 2, [1, 2])
    assert ended == ["spare"], "it may be harmed, too"


def test_out_of_memory_is_tried_again_only_where_others_were_on_the_gpu(actor, monkeypatch):
    end = failed(Side.CANDIDATE, Status.OUT_OF_MEMORY)
    for crowd, count in (("", 1), ("process 9 has 60.0 GiB of it", 2)):
        attempts(actor, monkeypatch, end, end, crowd=crowd)
        assert actor.measure(job(HONEST), more_to_come=0).attempt == count


def test_a_slow_baseline_is_held_against_a_candidate_where_it_is_seen_twice(actor, monkeypatch):
    def ends_as(*ends):
        _, began = attempts(actor, monkeypatch, *ends)
        return actor.measure(job(HONEST), more_to_come=0).status, began

    slowed, text = (Rejected(Finding(sign, "1 s")) for sign in (Sign.BASELINE_SLOWED, Sign.PAINTED_TEXT))
    assert ends_as(slowed, None) == (Status.MEASURED, [1, 2])
    assert ends_as(slowed, slowed) == (Status.REJECTED, [1, 2])
    assert ends_as(text) == (Status.REJECTED, [1])


def test_on_a_gpu_that_fails_the_check_nothing_is_tried_again(actor, monkeypatch):
    killed = failed(Side.CANDIDATE, Status.KILLED, signal.SIGKILL)
    _, began = attempts(actor, monkeypatch, killed, killed, fault="12 numbers are wrong")
    assert actor.measure(job(HONEST), more_to_come=0).attempt == 1
    assert began == [1]


def test_an_actor_that_has_lost_its_own_gpu_asks_to_be_replaced(actor, monkeypatch):
    attempts(actor, monkeypatch, RuntimeError("CUDA error: device-side assert triggered"), lost=True)
    with pytest.raises(DeviceError, match="lost its GPU"):
        actor.measure(job(HONEST), more_to_come=0)


def test_an_unknown_clip_model_is_refused_with_the_mend():
    with pytest.raises(ScorerError, match=r"scorer\.model"):
        Scorer(ScorerSpec("ViT-Z-99", "openai"), "cpu")


def test_an_actor_that_cannot_start_leaves_no_child():
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(ScorerError):
        GpuActor(SANDBOX, ScorerSpec("ViT-Z-99", "openai"), LIMITS, CAPTIONS, "cpu 0", gpu=False)
    assert set(psutil.Process().children(recursive=True)) <= before


def test_a_clip_model_with_random_weights_is_refused():
    with pytest.raises(ScorerError, match=r"needs scorer\.pretrained"):
        Scorer(ScorerSpec("ViT-B-32"), "cpu")


def test_the_scorer_prefers_the_right_caption_and_sees_truncation(actor):
    import numpy as np

    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 2] = 255
    red[20:44, 20:44] = (220, 30, 30)
    right, wrong = "a red square on a blue background", "a yellow circle on a green background"
    scores, swapped = actor.scorer.score(np.stack([red, red]), [right, wrong], [wrong, right])
    assert scores[0] > scores[1] + 20
    assert swapped == pytest.approx(scores[::-1], abs=1e-3)
    assert actor.scorer.truncated([right, " ".join(["circle"] * 100)]) == [False, True]
