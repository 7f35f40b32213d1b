"""Ray: one actor per GPU, jobs out, outcomes in as they finish.

One `ray.wait` loop in one thread; one job in flight per actor is all the back-pressure there is. An actor never raises
for what a pair does, so an exception here is the infrastructure's: the actor is replaced and the job tried once more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from actors.messages import Job, Machine, Outcome, PoolError, PoolSpec, Progress, Status

ATTEMPTS = 2  # of a job whose actor died
START_S = 600.0  # an actor's start: a process, its imports from a cold disk, the CLIP model
GRACE_S = 90.0  # beyond a job's own limits; a cut network takes Ray 64 s to notice
POLL_S = 0.5


# Restarts and repeats are the driver's; `progress` answers while `measure` runs.
WORKER_OPTIONS: dict[str, Any] = {"max_restarts": 0, "max_task_retries": 0, "concurrency_groups": {"progress": 1}}


class Worker:
    """What runs in Ray's process: the GpuActor, imported there alone, since the driver needs neither torch nor CUDA."""

    def __init__(self, name: str) -> None:
        self.name = name

    def open(self, spec: PoolSpec) -> Machine:
        """Makes the actor ready. Raises what `GpuActor` raises."""
        from actors.gpu_actor import GpuActor

        self.actor = GpuActor(spec.sandbox, spec.scorer, self.name)
        return self.actor.machine

    def measure(self, job: Job, more_to_come: bool) -> Outcome:
        """Measures one pair."""
        return self.actor.measure(job, more_to_come)

    @ray.method(concurrency_group="progress")
    def progress(self) -> Progress:
        """What the actor does now."""
        return self.actor.progress() if hasattr(self, "actor") else Progress(self.name, None, "starting")


RemoteWorker: Any = ray.remote(**WORKER_OPTIONS)(Worker)


@dataclass
class Slot:
    """One actor as the driver sees it."""

    name: str
    handle: Any
    job: Job | None = None
    deadline: float = 0.0
    baseline: str = ""  # the hash of the baseline that it holds warm


class Pool:
    """The actors of a run. A context manager: on leaving it, every actor and every child is gone."""

    def __init__(self, spec: PoolSpec, on_progress: Callable[[list[Progress]], None]) -> None:
        self.spec, self.on_progress = spec, on_progress
        self.slots: list[Slot] = []
        self.machines: list[Machine] = []

    def __enter__(self) -> Pool:
        try:
            connect(self.spec.address)
            self._resources, count = self._plan()
            self.slots = [self._start(f"{self._kind()} {number}") for number in range(count)]
            opening = [slot.handle.open.remote(self.spec) for slot in self.slots]
            self.on_progress([Progress(slot.name, None, "starting") for slot in self.slots])
            self.machines = self._opened(opening)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for slot in self.slots:
            ray.kill(slot.handle)
        ray.shutdown()

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Yields the outcome of every job, exactly one for each, in the order in which they end."""
        waiting = list(jobs)
        running: dict[Any, Slot] = {}
        while waiting or running:
            for slot in self.slots:
                if slot.job is None and waiting:
                    job = waiting.pop(next_job(waiting, slot.baseline))
                    running[self._submit(slot, job, bool(waiting))] = slot
            done, _ = ray.wait(list(running), timeout=POLL_S)
            self.on_progress(self._progress())
            late = [ref for ref, slot in running.items() if ref not in done and time.monotonic() > slot.deadline]
            for ref in [*done, *late]:
                slot = running.pop(ref)
                outcome = self._collect(slot, None if ref in late else ref)
                if isinstance(outcome, Job):
                    waiting.append(outcome)
                else:
                    yield outcome

    def _plan(self) -> tuple[dict[str, float], int]:
        """The resources of one actor, and how many actors."""
        resources = ray.cluster_resources()
        gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
        if self.spec.device == "gpu" and not gpus:
            raise PoolError("no GPU is known to Ray here; use --set pool.device=cpu, or join a cluster that has GPUs")
        if gpus and self.spec.device != "cpu":
            return {"num_gpus": 1, "num_cpus": 0}, min(gpus, self.spec.actors or gpus)
        count = min(cpus, self.spec.actors or 1)
        threads = cpus // count
        self.spec = replace(self.spec, sandbox=replace(self.spec.sandbox, threads=threads))
        return {"num_gpus": 0, "num_cpus": threads}, count

    def _kind(self) -> str:
        return "gpu" if self._resources["num_gpus"] else "cpu"

    def _start(self, name: str) -> Slot:
        return Slot(name, RemoteWorker.options(**self._resources).remote(name))

    def _opened(self, opening: list[Any]) -> list[Machine]:
        try:
            return list(ray.get(opening, timeout=START_S))
        except GetTimeoutError as error:
            raise PoolError(
                f"the actors did not start within {START_S:.0f} s: are the resources of Ray taken?"
            ) from error
        except RayTaskError as error:
            raise PoolError(f"an actor could not start: {error.cause}") from error
        except RayError as error:
            raise PoolError(f"an actor could not start: {error}") from error

    def _submit(self, slot: Slot, job: Job, more_to_come: bool) -> Any:
        slot.job, slot.baseline = job, job.baseline.sha256
        slot.deadline = time.monotonic() + longest(job)
        return slot.handle.measure.remote(job, more_to_come)

    def _collect(self, slot: Slot, ref: Any | None) -> Outcome | Job:
        """The outcome of a slot's job; or, where its actor failed (or `ref` is None: it is late), the job once more."""
        job = slot.job
        assert job is not None
        slot.job = None
        try:
            if ref is None:
                raise GetTimeoutError(f"no outcome within {longest(job):.0f} s")
            outcome: Outcome = ray.get(ref)
            return outcome
        except RayError as error:
            ray.kill(slot.handle)
            fresh = self._start(slot.name)
            slot.handle, slot.baseline = fresh.handle, ""
            slot.handle.open.remote(self.spec)  # calls run in order: the next job waits for it
            if job.attempt < ATTEMPTS:
                return replace(job, attempt=job.attempt + 1)
            detail = f"the actor failed {job.attempt} times, at last with {type(error).__name__}"
            return Outcome(job.pair, job.attempt, Status.INFRASTRUCTURE, detail, log=str(error)[-4000:])

    def _progress(self) -> list[Progress]:
        calls = [slot.handle.progress.remote() for slot in self.slots]
        ready, _ = ray.wait(calls, num_returns=len(calls), timeout=POLL_S)
        seen = []
        for slot, call in zip(self.slots, calls, strict=True):
            try:
                seen.append(ray.get(call) if call in ready else Progress(slot.name, None, "no answer"))
            except RayError:
                seen.append(Progress(slot.name, None, "lost"))
        return seen


def next_job(waiting: Sequence[Job], warm_baseline: str) -> int:
    """Which waiting job an actor takes: the first that needs the baseline that it holds warm, else the first."""
    return next((index for index, job in enumerate(waiting) if job.baseline.sha256 == warm_baseline), 0)


def longest(job: Job) -> float:
    """Seconds after which a job cannot still be within its limits."""
    limits = job.limits
    a_side = limits.start_s + limits.load_s * 3 + limits.warmup_s * len(job.warmup) + limits.call_s * len(job.batches)
    return 2 * a_side + limits.start_s + limits.load_s * 3 + START_S + GRACE_S


def connect(address: str) -> None:
    """Joins a Ray cluster or starts Ray on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # workers inherit 15 otherwise, and children from them
    # Without this, Ray 2.60 warns at every start of a change to come.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Not "warning": Ray warns at every local start that it has turned token authentication on.
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    wanted = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    try:
        if wanted == "auto":
            try:
                ray.init(address="auto", **quiet)
                return
            except ConnectionError:
                wanted = "local"
        ray.init(address=wanted, include_dashboard=False if wanted == "local" else None, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise PoolError(f"Ray at {wanted!r} cannot be reached or started: {error}") from error
