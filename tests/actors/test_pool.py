"""Real Ray on this machine: every job has exactly one outcome, also when actors die."""

import dataclasses
import os
import signal
import sys
from types import SimpleNamespace

import psutil
import pytest
from ray.exceptions import RayActorError, RayTaskError

from actors import gpu_actor
from actors import pool as pool_module
from actors.machine import DeviceError
from actors.messages import (
    Job,
    Limits,
    Machine,
    Outcome,
    PoolError,
    PoolSpec,
    Progress,
    SandboxSpec,
    ScorerSpec,
    Status,
)
from actors.model_config import ModelConfig
from actors.pool import Pool, Worker, connect, longest, next_job
from actors.scoring import ScorerError
from harness.embedded import EMBEDDED_SCORERS
from tests.actors.model_files import CAPTIONS, HONEST, honest_but, model_file, plan

LIMITS = Limits(start_s=120, load_s=60, warmup_s=60, call_s=60)


def spec(**changes) -> PoolSpec:
    sandbox = SandboxSpec(tiers=("bwrap", "process"), models={}, preimports=("torch",))
    clip = ScorerSpec(f"local-dir:{EMBEDDED_SCORERS['diffharness/tiny-shapes-clip']}")
    return dataclasses.replace(PoolSpec("local", "cpu", 2, sandbox, clip, CAPTIONS, LIMITS), **changes)


def job(pair: str, candidate: str = HONEST, baseline: str = HONEST) -> Job:
    files = model_file(baseline), model_file(candidate), model_file(HONEST)
    calls = plan(batch_size=1, batches=1)
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


@pytest.fixture(scope="class")
def two_cpus():
    """A real pool of two actors, and the progress that it tells."""
    progress = []
    with Pool(spec(), progress.append) as pool:
        assert len(pool.slots) == 2
        yield pool, progress


class TestTwoActors:
    def test_a_pool_measures_every_job_once_and_replaces_an_actor_that_dies(self, two_cpus):
        (pool, progress), outcomes = two_cpus, []
        bad = job("bad", honest_but(call="raise RuntimeError('no luck')"))
        for outcome in pool.run([job("1"), bad, job("2"), job("3")]):
            if not outcomes:  # a worker dies while jobs are waiting
                worker = next(
                    p for p in psutil.Process().children(recursive=True) if p.name().startswith("ray::Worker")
                )
                worker.send_signal(signal.SIGKILL)
            outcomes.append(outcome)
        assert sorted(outcome.pair for outcome in outcomes) == ["1", "2", "3", "bad"]
        statuses = {outcome.pair: outcome.status for outcome in outcomes}
        assert statuses.pop("bad") is Status.CALL_ERROR
        assert set(statuses.values()) == {Status.MEASURED}
        assert {outcome.machine.device_id for outcome in outcomes} == {"cpu"}
        assert any(actor.pair for seen in progress for actor in seen)

    @pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
    def test_both_sides_of_a_pair_run_on_the_cpus_of_the_actor_that_it_is_meant_for(self, two_cpus):
        where = "import os\nraise RuntimeError(f'on {sorted(os.sched_getaffinity(0))}')"
        sides = [job("1", honest_but(call=where)), job("0", honest_but(load=where), baseline=honest_but(call="pass"))]
        meant = [dataclasses.replace(side, place=int(side.pair)) for side in sides]
        details = {outcome.pair: outcome.detail.split("on ")[-1] for outcome in two_cpus[0].run(meant)}
        available = sorted(os.sched_getaffinity(0))
        half = len(available) // 2
        assert details == {"0": str(available[:half]), "1": str(available[half : 2 * half])}


def test_a_pool_that_cannot_start_says_why():
    with (
        pytest.raises(PoolError, match=r"scorer\.model"),
        Pool(spec(actors=1, scorer=ScorerSpec("ViT-Z-99", "openai")), print),
    ):
        pass


def test_a_sigterm_while_ray_starts_interrupts_as_it_does_later(monkeypatch):
    def starts(**options):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))  # as ray.init does
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(pool_module.ray, "init", starts)
    with pytest.raises(KeyboardInterrupt):
        connect("local")
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_actor_takes_no_more_threads_than_it_has_cpus(monkeypatch):
    opened = []
    monkeypatch.setattr(
        gpu_actor,
        "GpuActor",
        lambda spec, *rest: opened.append((spec.threads, rest[-1])) or SimpleNamespace(warning=""),
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:1])  # as taskset and Slurm do; Ray counts the machine's
    try:
        three = spec(sandbox=dataclasses.replace(spec().sandbox, threads=3))
        Worker("cpu 0").open(three, gpu=False, place=0)
    finally:
        os.sched_setaffinity(0, before)
    assert opened == [(1, 2)], "one thread, and half of the machine's memory"


def test_a_gpu_that_is_not_there_is_refused_with_the_mend():
    with pytest.raises(PoolError, match=r"pool\.device=cpu"), Pool(spec(device="gpu"), print):
        pass


class FakeRay:
    """Ray and its actors in this process: every call is answered when it is asked for, by what a test tells it.

    `outcomes`: by actor and pair, what `measure` returns or raises; a measured outcome where it says nothing.
    `openings`: by actor, what its starts return or raise in turn; then no warning.
    """

    def __init__(self, gpus, cpus=()):
        self.gpus, self.cpus, self.outcomes, self.openings = gpus, cpus, {}, {}
        self.measured, self.killed, self.closed = [], [], []

    def is_initialized(self):
        return True

    def cluster_resources(self):
        return {"GPU": self.gpus}

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": cpus}} for cpus in self.cpus]

    def wait(self, refs, num_returns=1, timeout=None):
        return list(refs), []

    def get(self, ref, timeout=None):
        if isinstance(ref.answer, Exception):
            raise ref.answer
        return ref.answer

    def kill(self, handle):
        self.killed.append(handle.name)

    def options(self, **resources):
        return self

    def remote(self, name):
        def measure(job, more_to_come):
            self.measured.append((name, job.pair, job.attempt))
            answer = self.outcomes.get((name, job.pair), Outcome(job.pair, job.attempt, Status.MEASURED, ""))
            return dataclasses.replace(answer, attempt=job.attempt) if isinstance(answer, Outcome) else answer

        answers = {
            "open": lambda *_: self.openings.get(name, []).pop(0) if self.openings.get(name) else "",
            "measure": measure,
            "progress": lambda: Progress(name, None, "idle"),
            "close": lambda: self.closed.append(name),
        }
        calls = {
            call: SimpleNamespace(remote=lambda *given, answer=answer: Reference(answer(*given)))
            for call, answer in answers.items()
        }
        return SimpleNamespace(name=name, **calls)


class Reference:
    """What a call of a fake actor returns; a key of a dictionary by its identity, as one of Ray's is."""

    def __init__(self, answer):
        self.answer = answer


def test_actors_on_cpus_share_the_largest_node_and_its_memory(monkeypatch):
    fake = FakeRay(0, cpus=(4.0, 16.0))
    monkeypatch.setattr(pool_module, "ray", fake)
    monkeypatch.setattr(pool_module, "RemoteWorker", fake)
    for asked, count, threads in ((None, 1, 16), (3, 3, 5), (40, 16, 1)):
        with Pool(spec(actors=asked), lambda _: None) as pool:
            assert (len(pool.slots), pool.spec.actors, pool.spec.sandbox.threads) == (count, count, threads)


@pytest.fixture
def two_gpus(monkeypatch):
    fake = FakeRay(2)
    monkeypatch.setattr(pool_module, "ray", fake)
    monkeypatch.setattr(pool_module, "RemoteWorker", fake)
    return fake


def broken(pair: str, status: Status = Status.CALL_ERROR, problem: str = "12 numbers are wrong") -> Outcome:
    machine = Machine("node7", "NVIDIA H100", "GPU-1234", "bwrap", "cgroup v2", "clip", {})
    return Outcome(pair, 1, status, "CUDA error", machine, device_problem=problem)


def run_all(jobs, progress=None):
    """The outcomes of a run on fake actors by pair, and the pool."""
    seen = [] if progress is None else progress
    with Pool(spec(device="gpu", actors=None), seen.append) as pool:
        outcomes = list(pool.run(jobs))
    assert sorted(outcome.pair for outcome in outcomes) == sorted(one.pair for one in jobs), "one for each"
    return {outcome.pair: outcome for outcome in outcomes}, pool


def test_a_gpu_that_cannot_be_trusted_is_taken_out_of_use_and_its_job_goes_to_another(two_gpus, caplog):
    two_gpus.outcomes["gpu 0", "1"] = broken("1")
    progress = []
    outcomes, pool = run_all([job(name) for name in "123456"], progress)
    assert {outcome.status for outcome in outcomes.values()} == {Status.MEASURED}
    assert outcomes["1"].attempt == 2
    assert [call for call in two_gpus.measured if call[0] == "gpu 0"] == [("gpu 0", "1", 1)]
    assert ("gpu 1", "1", 2) in two_gpus.measured
    assert progress[-1] == [Progress("gpu 1", None, "idle"), Progress("gpu 0", None, "out of use")]
    (line,) = pool.out_of_use
    assert line == "gpu 0 (NVIDIA H100, GPU-1234, of node7) was taken out of use: 12 numbers are wrong"
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert line in record.message
    assert "nvidia-smi" in record.message


def test_the_actor_of_a_gpu_out_of_use_holds_it_until_the_end(two_gpus):
    two_gpus.outcomes["gpu 0", "1"] = broken("1")
    with Pool(spec(device="gpu", actors=None), lambda progress: None) as pool:
        assert len(list(pool.run([job("1"), job("2")]))) == 2
        assert two_gpus.killed == []
    assert sorted(two_gpus.killed) == sorted(two_gpus.closed) == ["gpu 0", "gpu 1"]


def test_what_was_measured_before_a_gpu_went_out_of_use_stays_measured(two_gpus):
    two_gpus.outcomes["gpu 0", "1"] = broken("1", Status.MEASURED, "8 GiB are still held")
    outcomes, pool = run_all([job("1"), job("2"), job("3")])
    assert (outcomes["1"].status, outcomes["1"].attempt) == (Status.MEASURED, 1)
    assert len(pool.out_of_use) == 1


def test_where_no_gpu_is_left_every_job_ends_as_infrastructure_with_the_reasons(two_gpus):
    two_gpus.outcomes["gpu 0", "1"] = broken("1")
    two_gpus.outcomes["gpu 1", "2"] = broken("2", problem="8 GiB are still held")
    outcomes, _ = run_all([job(name) for name in "1234"])
    assert {outcome.status for outcome in outcomes.values()} == {Status.INFRASTRUCTURE}
    for outcome in outcomes.values():
        assert "gpu 1" in outcome.detail
        assert "8 GiB are still held" in outcome.detail
    assert "no actor is left" in outcomes["3"].detail
    assert "the pair had ended as call_error: CUDA error" in outcomes["2"].detail


def test_a_pair_that_breaks_off_on_two_such_gpus_keeps_its_own_status(two_gpus):
    two_gpus.gpus = 3
    for name in ("gpu 0", "gpu 1", "gpu 2"):
        two_gpus.outcomes[name, "1"] = broken("1")
    outcomes, pool = run_all([job(name) for name in "123456"])
    assert (outcomes["1"].status, outcomes["1"].attempt) == (Status.CALL_ERROR, 2)
    assert "was taken out of use" in outcomes["1"].detail
    assert len(pool.out_of_use) == 2, "a third is not given to it"
    assert {outcomes[name].status for name in "23456"} == {Status.MEASURED}


def test_a_job_that_is_meant_for_a_gpu_out_of_use_goes_nowhere_else(two_gpus):
    two_gpus.outcomes["gpu 0", "1"] = broken("1")
    meant = [dataclasses.replace(job(name), place=0) for name in "12"]
    outcomes, _ = run_all([*meant, job("3")])
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "1": Status.INFRASTRUCTURE,
        "2": Status.INFRASTRUCTURE,
        "3": Status.MEASURED,
    }
    assert "meant for is lost; gpu 0 (NVIDIA H100" in outcomes["2"].detail


def test_an_actor_that_dies_and_finds_its_gpu_broken_ends_no_run(two_gpus):
    two_gpus.gpus = 1
    two_gpus.outcomes["gpu 0", "1"] = RayActorError()
    two_gpus.openings["gpu 0"] = ["", RayTaskError("open", "trace", DeviceError("GPU-1234 cannot be trusted"))]
    outcomes, _ = run_all([job("1"), job("2")])
    for outcome in outcomes.values():
        assert outcome.status is Status.INFRASTRUCTURE
        assert "no actor is left; gpu 0 is not used: GPU-1234 cannot be trusted" in outcome.detail


def test_an_actor_that_cannot_open_leaves_the_others_to_work(two_gpus, caplog):
    two_gpus.openings["gpu 1"] = [RayTaskError("open", "trace", ScorerError("no such model"))]
    here, lost = (dataclasses.replace(job(f"at {place}"), place=place) for place in range(2))
    outcomes, _ = run_all([job("1"), lost, here])
    assert "gpu 1 is not used: no such model" in caplog.text
    assert outcomes["1"].status is outcomes["at 0"].status is Status.MEASURED
    assert outcomes["at 1"].status is Status.INFRASTRUCTURE
    assert outcomes["at 1"].detail.startswith("the actor that it is meant for is lost; gpu 1 is not used: ")
    assert two_gpus.killed[0] == "gpu 1"


def test_what_an_actor_says_of_its_gpu_at_the_start_is_passed_on(two_gpus, caplog):
    two_gpus.openings["gpu 1"] = ["the GPU is not free: process 9 has 3.0 GiB of it"]
    run_all([job("1")])
    assert "gpu 1: the GPU is not free" in caplog.text
