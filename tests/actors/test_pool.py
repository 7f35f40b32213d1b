"""Real Ray on this machine: every job has exactly one outcome, also when actors die."""

import dataclasses
import os
import signal

import psutil
import pytest

from actors.messages import Batch, Job, Limits, PoolError, PoolSpec, SandboxSpec, ScorerSpec, Status
from actors.model_config import ModelConfig
from actors.pool import Pool, longest, next_job
from harness.embedded import EMBEDDED_SCORERS
from tests.actors.model_files import HONEST, honest_but, model_file, plan

BATCHES = (Batch(("a red circle",), (1,)),)
LIMITS = Limits(start_s=120, load_s=60, warmup_s=60, call_s=60)


def spec(**changes) -> PoolSpec:
    sandbox = SandboxSpec(tiers=("bwrap", "process"), models={}, preimports=("torch",))
    clip = ScorerSpec(f"local-dir:{EMBEDDED_SCORERS['diffharness/tiny-shapes-clip']}")
    return dataclasses.replace(PoolSpec("local", "cpu", 2, sandbox, clip), **changes)


def job(pair: str, candidate: str = HONEST, baseline: str = HONEST) -> Job:
    files = model_file(baseline), model_file(candidate), model_file(HONEST)
    calls = plan(warmup=BATCHES, batches=BATCHES)
    return Job(pair, 1, *files, ModelConfig("GreyPipeline", "tests/grey", "none", 1), calls, LIMITS)


def test_the_next_job_shares_the_warm_baseline_where_one_does():
    jobs = [job("1"), job("2", baseline=honest_but(call="pass")), job("3")]
    assert next_job(jobs, jobs[1].baseline.sha256, {jobs[1].baseline.sha256}) == 1
    assert next_job(jobs, "a hash that no job has", set()) == 0


def test_the_next_job_leaves_a_baseline_to_the_actor_that_holds_it():
    others = [job(name, baseline=honest_but(call=f"'{name[0]}'")) for name in ("a 1", "b 1", "b 2")]
    jobs = [job("1"), *others]
    held = {jobs[0].baseline.sha256}
    assert next_job(jobs, "", held) == 2, "the one that most jobs need"
    assert next_job(jobs, "", held | {jobs[2].baseline.sha256}) == 1
    assert next_job(jobs, "", {one.baseline.sha256 for one in jobs}) == 0


def test_a_jobs_deadline_lies_beyond_all_of_its_own_limits():
    limits = dataclasses.replace(LIMITS, call_s=1000)
    assert longest(dataclasses.replace(job("1"), limits=limits)) > 2 * 1000


def test_a_pool_measures_every_job_once_and_replaces_an_actor_that_dies():
    progress, outcomes = [], []
    bad = job("bad", honest_but(call="raise RuntimeError('no luck')"))
    with Pool(spec(), progress.append) as pool:
        assert len(pool.slots) == 2
        for outcome in pool.run([job("1"), bad, job("2"), job("3")]):
            if not outcomes:  # a worker dies while jobs are waiting
                workers = [
                    p
                    for p in psutil.process_iter(["cmdline"])
                    if (p.info["cmdline"] or [""])[0].startswith("ray::Worker")
                ]
                for worker in workers[:1]:
                    worker.send_signal(signal.SIGKILL)
            outcomes.append(outcome)
    assert sorted(outcome.pair for outcome in outcomes) == ["1", "2", "3", "bad"]
    statuses = {outcome.pair: outcome.status for outcome in outcomes}
    assert statuses.pop("bad") is Status.CALL_ERROR
    assert set(statuses.values()) == {Status.MEASURED}
    assert {outcome.machine.device_id for outcome in outcomes} == {"cpu"}
    assert any(actor.pair for seen in progress for actor in seen)
    children = [p for p in psutil.process_iter(["cmdline"]) if "actors.child" in " ".join(p.info["cmdline"] or ())]
    assert not [child for child in children if child.ppid() == os.getpid()]


def test_a_pool_that_cannot_start_says_why():
    with pytest.raises(PoolError, match=r"scorer\.model"), Pool(spec(scorer=ScorerSpec("ViT-Z-99", "openai")), print):
        pass


def test_an_actor_that_cannot_open_leaves_the_others_to_work(caplog):
    class Half(Pool):
        def _start(self, place):
            if place == 1:
                whole, self.spec = self.spec, spec(scorer=ScorerSpec("ViT-Z-99", "openai"))
                slot, self.spec = super()._start(place), whole
                return slot
            return super()._start(place)

    with Half(spec(), lambda progress: None) as pool:
        here, lost = (dataclasses.replace(job(f"at {place}"), place=place) for place in range(2))
        outcomes = {outcome.pair: outcome for outcome in pool.run([job("1"), lost, here])}
        assert [outcome.pair for outcome in pool.run([lost])] == ["at 1"]
    assert "cpu 1 is not used" in caplog.text
    assert outcomes["1"].status is outcomes["at 0"].status is Status.MEASURED
    assert (outcomes["at 1"].status, outcomes["at 1"].detail) == (
        Status.INFRASTRUCTURE,
        "the actor that it is meant for is lost",
    )


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
def test_both_sides_of_a_pair_run_on_the_cpus_of_the_actor_that_it_is_meant_for():
    where = "import os\nraise RuntimeError(f'on {sorted(os.sched_getaffinity(0))}')"
    with Pool(spec(), lambda progress: None) as pool:
        sides = [job("1", honest_but(call=where)), job("0", honest_but(load=where), baseline=honest_but(call="pass"))]
        meant = [dataclasses.replace(side, place=int(side.pair)) for side in sides]
        details = {outcome.pair: outcome.detail.split("on ")[-1] for outcome in pool.run(meant)}
    available = sorted(os.sched_getaffinity(0))
    half = len(available) // 2
    assert details == {"0": str(available[:half]), "1": str(available[half : 2 * half])}


def test_a_gpu_that_is_not_there_is_refused_with_the_mend():
    with pytest.raises(PoolError, match=r"pool\.device=cpu"), Pool(spec(device="gpu"), print):
        pass
