"""Ray: one actor per GPU, jobs out, outcomes in as they finish.

One `ray.wait` loop in one thread; one job in flight per actor is all the back-pressure there is. An actor never raises
for what a pair does, so an exception here is the infrastructure's: the actor is replaced and the job tried once more.
A device that its actor does not trust any more is taken out of use, and where no actor is left, every job that waits
has an outcome that says why.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from actors.draws import CALLS_ALONE
from actors.machine import stay_on_cpus
from actors.messages import ATTEMPTS, SOUND_ENDS, Job, Outcome, PoolError, PoolSpec, Progress, Status

START_S = 600.0  # an actor's start: a process, its imports from a cold disk, the CLIP model
GRACE_S = 90.0  # beyond a job's own limits; a cut network takes Ray 64 s to notice
CLOSE_S = 10.0
POLL_S = 0.5

# Restarts and repeats are the driver's; `progress` answers while `measure` runs; Ray's workers have nice 15 otherwise,
# and children would inherit it.
WORKER_OPTIONS: dict[str, Any] = {
    "max_restarts": 0,
    "max_task_retries": 0,
    "concurrency_groups": {"progress": 1},
    "runtime_env": {"env_vars": {"RAY_worker_niceness": "0"}},
}

logger = logging.getLogger("diffharness")


class Worker:
    """What runs in Ray's process: the GpuActor, imported there alone, since the driver needs neither torch nor CUDA."""

    def __init__(self, name: str) -> None:
        self.name = name

    def open(self, spec: PoolSpec, gpu: bool, place: int) -> str:
        """Makes the actor ready, the `place`-th of its pool; its warning, or "". Raises what `GpuActor` raises."""
        if not gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves every GPU visible to an actor that asked for none
            stay_on_cpus(place, spec.sandbox.threads or 1)
            # Ray counts the machine's CPUs, of which this process may be given a few (taskset, Slurm).
            spec = replace(spec, sandbox=replace(spec.sandbox, threads=len(os.sched_getaffinity(0))))
        from actors.gpu_actor import GpuActor

        self.actor = GpuActor(spec.sandbox, spec.scorer, spec.limits, spec.captions, self.name, gpu, spec.actors or 1)
        return self.actor.warning

    def measure(self, job: Job, more_to_come: int) -> Outcome:
        """Measures one pair."""
        return self.actor.measure(job, more_to_come)

    def close(self) -> None:
        """Ends the children that are kept."""
        self.actor.close()

    @ray.method(concurrency_group="progress")
    def progress(self) -> Progress:
        """What the actor does now."""
        return self.actor.progress() if hasattr(self, "actor") else Progress(self.name, None, "starting")


RemoteWorker: Any = ray.remote(**WORKER_OPTIONS)(Worker)


@dataclass
class Slot:
    """One actor as the driver sees it: it opens, and then has a job or none."""

    name: str
    place: int
    handle: Any
    opening: Any
    ready: bool = False
    job: Job | None = None
    deadline: float = 0.0
    baseline: str = ""  # the hash of the baseline that it holds warm


class Pool:
    """The actors of a run. A context manager: on leaving it, they are gone, and their children with them."""

    def __init__(self, spec: PoolSpec, on_progress: Callable[[list[Progress]], None]) -> None:
        self.spec, self.on_progress = spec, on_progress
        self.slots: list[Slot] = []
        self.out_of_use: list[str] = []  # a line for each actor that was lost, for people
        self._distrusted: list[Slot] = []  # kept idle until the end: Ray would give their GPUs to other actors
        self._ours = False  # whether Ray is to be left again

    def __enter__(self) -> Pool:
        try:
            if not ray.is_initialized():
                self._ours = True
                connect(self.spec.address)
            self._resources, count = self._plan()
            self.slots = [self._start(place) for place in range(count)]
            self.on_progress([Progress(slot.name, None, "starting") for slot in self.slots])
            ray.wait([slot.opening for slot in self.slots], num_returns=count, timeout=START_S)
            for slot in list(self.slots):
                self._opened(slot)
            if not self.slots:
                raise PoolError(f"no actor could start: {self.out_of_use[-1]}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            slots = [*self.slots, *self._distrusted]
            idle = [slot.handle.close.remote() for slot in slots if slot.ready and slot.job is None]
            ray.wait(idle, num_returns=len(idle), timeout=CLOSE_S)
            for slot in slots:
                ray.kill(slot.handle)
        finally:
            if self._ours:
                ray.shutdown()

    @property
    def on_gpus(self) -> bool:
        """Whether each actor has a GPU."""
        return bool(self._resources["num_gpus"])

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Yields the outcome of every job, exactly one for each, in the order in which they end.

        A job that no actor is left for ends as INFRASTRUCTURE, and says what became of the actors.
        """
        waiting = list(jobs)
        # A call in flight, or the start of an actor that replaces another, maybe since an earlier run.
        pending: dict[Any, Slot] = {slot.opening: slot for slot in self.slots if not slot.ready}
        while waiting or any(slot.job for slot in pending.values()):
            for job in self._unplaceable(waiting):
                waiting.remove(job)
                lost = "no actor is left" if job.place is None else "the actor that it is meant for is lost"
                detail = "; ".join([lost, *self.out_of_use])
                yield Outcome(job.pair, job.attempt, Status.INFRASTRUCTURE, detail)
            for slot in self.slots:
                fitting = [job for job in waiting if job.place in (None, slot.place)]
                if slot.ready and slot.job is None and fitting:
                    job = fitting[next_job(fitting, slot.baseline, {other.baseline for other in self.slots})]
                    waiting.remove(job)
                    pending[self._submit(slot, job, len(waiting) // len(self.slots))] = slot
            done, _ = ray.wait(list(pending), timeout=POLL_S)
            self.on_progress(self._progress())
            late = [ref for ref, slot in pending.items() if ref not in done and time.monotonic() > slot.deadline]
            for ref in [*done, *late]:
                slot = pending.pop(ref)
                if not slot.ready:
                    self._opened(slot)
                    continue
                outcome = self._collect(slot, None if ref in late else ref)
                if not slot.ready:
                    pending[slot.opening] = slot
                if isinstance(outcome, Job):
                    waiting.append(outcome)
                else:
                    yield outcome

    def _plan(self) -> tuple[dict[str, float], int]:
        """The resources of one actor, and how many actors."""
        gpus = int(ray.cluster_resources().get("GPU", 0))
        if self.spec.device == "gpu" and not gpus:
            raise PoolError("no GPU is known to Ray here; use --set pool.device=cpu, or join a cluster that has GPUs")
        if gpus and self.spec.device != "cpu":
            return {"num_gpus": 1, "num_cpus": 0}, min(gpus, self.spec.actors or gpus)
        cpus = max(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"])
        if not cpus:
            raise PoolError("no node of this Ray cluster offers a CPU; start one with `ray start --num-cpus`")
        count = min(cpus, self.spec.actors or 1)
        threads = cpus // count
        self.spec = replace(self.spec, actors=count, sandbox=replace(self.spec.sandbox, threads=threads))
        return {"num_gpus": 0, "num_cpus": threads}, count

    def _start(self, place: int) -> Slot:
        name = f"{'gpu' if self.on_gpus else 'cpu'} {place}"
        handle = RemoteWorker.options(**self._resources).remote(name)
        opening = handle.open.remote(self.spec, self.on_gpus, place)
        return Slot(name, place, handle, opening, deadline=time.monotonic() + START_S)

    def _opened(self, slot: Slot) -> None:
        """Makes a slot ready, or drops it."""
        try:
            warning = ray.get(slot.opening, timeout=0)
            slot.ready = True
            if warning:
                logger.warning("%s: %s", slot.name, warning)
        except RayError as error:
            why = str(error.cause) if isinstance(error, RayTaskError) else str(error)
            if isinstance(error, GetTimeoutError):
                why = f"it did not start within {START_S:.0f} s; are the resources of Ray taken?"
            ray.kill(slot.handle)
            self.slots.remove(slot)
            self.out_of_use.append(f"{slot.name} is not used: {why}")
            logger.warning(self.out_of_use[-1])

    def _unplaceable(self, waiting: Sequence[Job]) -> list[Job]:
        """The jobs that no actor which is left may take."""
        places = {place for slot in self.slots for place in (None, slot.place)}
        return [job for job in waiting if job.place not in places]

    def _submit(self, slot: Slot, job: Job, more_to_come: int) -> Any:
        slot.job, slot.baseline = job, job.baseline.sha256
        slot.deadline = time.monotonic() + longest(job)
        return slot.handle.measure.remote(job, more_to_come)

    def _collect(self, slot: Slot, ref: Any | None) -> Outcome | Job:
        """The outcome of a slot's job; or, where its actor failed (or `ref` is None: it is late), the job once more.

        A slot whose actor failed gets a fresh one, and is not ready until that has opened.
        """
        job = slot.job
        assert job is not None
        slot.job = None
        try:
            if ref is None:
                raise GetTimeoutError(f"no outcome within {longest(job):.0f} s")
            outcome: Outcome = ray.get(ref)
            return self._distrust(slot, job, outcome) if outcome.device_problem else outcome
        except RayError as error:
            ray.kill(slot.handle)
            fresh = self._start(slot.place)
            slot.handle, slot.opening, slot.deadline = fresh.handle, fresh.opening, fresh.deadline
            slot.ready, slot.baseline = False, ""
            if job.attempt < ATTEMPTS:
                return replace(job, attempt=job.attempt + 1, plan=job.plan.afresh("another actor"))
            detail = f"the actor failed {job.attempt} times, at last with {type(error).__name__}"
            return Outcome(job.pair, job.attempt, Status.INFRASTRUCTURE, detail, log=str(error)[-4000:])

    def _distrust(self, slot: Slot, job: Job, outcome: Outcome) -> Outcome | Job:
        """Takes a slot out of use, whose device its actor does not trust any more. Its job goes to another actor, once.

        A pair that broke off on two such devices ends as it did: the fault is then most likely its own.
        """
        machine = outcome.machine
        device = f"{machine.device}, {machine.device_id}, of {machine.host}" if machine else "its device"
        lost = f"{slot.name} ({device}) was taken out of use: {outcome.device_problem}"
        logger.error(
            "%s. No pair of this run is measured on it any more. Look at it with nvidia-smi and in the kernel's log "
            "(Xid), end what is still on it, reset it or its machine; the same command then measures what is missing.",
            lost,
        )
        self.slots.remove(slot)
        self._distrusted.append(slot)
        self.out_of_use.append(lost)
        if outcome.status in SOUND_ENDS:
            return outcome
        if job.attempt >= ATTEMPTS:
            return replace(outcome, detail=f"{outcome.detail}; {lost}")
        again = replace(job, attempt=outcome.attempt + 1, plan=job.plan.afresh("another device"))
        if not self._unplaceable([again]):
            return again
        detail = f"{lost}; the pair had ended as {outcome.status}: {outcome.detail}"
        return replace(outcome, status=Status.INFRASTRUCTURE, detail=detail)

    def _progress(self) -> list[Progress]:
        calls = [slot.handle.progress.remote() for slot in self.slots]
        ready, _ = ray.wait(calls, num_returns=len(calls), timeout=POLL_S)
        seen = []
        for slot, call in zip(self.slots, calls, strict=True):
            try:
                seen.append(ray.get(call) if call in ready else Progress(slot.name, None, "no answer"))
            except RayError:
                seen.append(Progress(slot.name, None, "lost"))
        return [*seen, *(Progress(slot.name, None, "out of use") for slot in self._distrusted)]


def next_job(waiting: Sequence[Job], own: str, held: Set[str]) -> int:
    """Which waiting job an actor takes: the first that needs the baseline that it holds warm itself.

    Else one whose baseline nobody holds, that most waiting jobs need; else the first.
    own: the hash of the baseline that it holds. held: those that any actor holds.
    """
    needed = [job.baseline.sha256 for job in waiting]
    if own in needed:
        return needed.index(own)
    free = Counter(baseline for baseline in needed if baseline not in held)
    return needed.index(free.most_common(1)[0][0]) if free else 0


def longest(job: Job) -> float:
    """Seconds after which a job cannot still be within its limits."""
    limits, plan = job.limits, job.plan
    calls = limits.call_s * (plan.batches + plan.repeats + CALLS_ALONE)
    a_side = limits.start_s + limits.load_s * 4 + limits.warmup_s * (plan.warmup_at_most + 1) + calls
    reference = limits.start_s + limits.load_s * 3
    once = 6 * a_side + reference  # both in turns, then three in blocks, and the baseline once more alone
    return ATTEMPTS * once + START_S + GRACE_S  # the actor may try a pair twice, and look at its GPU after each


def connect(address: str) -> None:
    """Joins a Ray cluster or starts Ray on this machine. Raises PoolError.

    "auto": the cluster of RAY_ADDRESS, else one that `ray start` made on this machine, else a Ray of our own.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Without this, Ray 2.60 warns at every start of a change to come.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    main_thread = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        # Not WARNING: Ray warns at every local start that it has turned token authentication on.
        ray.init(
            address=None if address == "auto" else address,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise PoolError(f"Ray at {address!r} (pool.address) cannot be reached or started: {error}") from error
    except SystemExit as ended:  # what Ray's handler of SIGTERM makes of it, from the first moment on
        raise KeyboardInterrupt from ended
    finally:
        if main_thread:
            signal.signal(signal.SIGTERM, before)
