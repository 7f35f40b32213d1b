"""One GPU (or one share of the CPU): holds the CLIP model and the warm baseline, measures one pair at a time.

This is the one boundary that turns failures into outcomes: whatever a pair does, `measure` returns an Outcome, so an
exception that the driver sees is always the infrastructure's.
"""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import psutil
import torch

from actors.cgroup import freezer, oom_kills
from actors.draws import Draw, KeyedRandom, draw
from actors.gpu_health import GpuHealth, why_repeat
from actors.limits import resolved
from actors.machine import find_device, gpu_place, installed_versions, peak_flops, stay_on_cpus
from actors.measure import Crowded, Measurement, Rejected, block_order
from actors.messages import (
    SOUND_ENDS,
    Batch,
    Finding,
    Job,
    Layout,
    Limits,
    Machine,
    ModelFile,
    Outcome,
    Progress,
    SandboxSpec,
    ScorerSpec,
    Side,
    Sign,
    Status,
)
from actors.model_config import COMPARED, ModelConfig, differences
from actors.profiling import Profile
from actors.sandbox import Child, ChildFailure, choose_tier
from actors.scoring import Scorer
from actors.side import LoadedSide, SideFailure, failures_of
from actors.spares import Spares
from actors.telemetry import GpuMeter
from actors.timing_signs import work_floor_s


class ReferenceFailure(Exception):
    """The reference file could not be loaded."""

    def __init__(self, failure: ChildFailure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class ConfigMismatch(Exception):
    """The live candidate is not the pipeline that the reference file builds."""


@dataclass
class PairState:
    """What is known of a pair so far; an outcome is made of it however the pair ends."""

    baseline: LoadedSide | None = None
    baseline_kept: bool = False  # from an earlier pair
    candidate: LoadedSide | None = None
    measurement: Measurement | None = None
    tried: bool = False  # a candidate was loaded, or failed to
    oom_kills: int | None = None  # by the kernel, on this machine, when the pair began
    failed: SideFailure | None = None
    rejected: Finding | None = None  # the sign that ended it
    held: str = ""  # what was held on the GPU after the candidate's end, ...
    still_held: str = ""  # ... and after the end of every other child


class GpuActor:
    """Measures pairs on the one device that Ray gave it."""

    def __init__(
        self,
        sandbox: SandboxSpec,
        scorer: ScorerSpec,
        limits: Limits,
        captions: Sequence[Sequence[str]],
        name: str,
        gpu: bool,
        beside: int = 1,
    ) -> None:
        """Chooses the sandbox tier and loads the CLIP model, while children with these limits import.

        captions: of each row of the data set; prompts are drawn from them.
        beside: how many actors share the memory of a machine without a GPU; with one it is as many as there are GPUs.
        Raises SandboxError, DeviceError and ScorerError.
        """
        self.sandbox, self.captions = sandbox, captions
        self.tier = choose_tier(sandbox.tiers)
        self.device = find_device(gpu)
        self._beside = beside
        if self.device.uuid is not None:
            number, self._beside = gpu_place(self.device.uuid)
            stay_on_cpus(number, max(1, len(os.sched_getaffinity(0)) // self._beside))
            torch.set_num_threads(1)  # its images are prepared side by side: threads for each take twice as long
        elif sandbox.threads is not None:  # more than its share would wait for a child that has the CPU
            torch.set_num_threads(sandbox.threads)
        self._health = GpuHealth(self.device, self._our_processes)
        self.warning = self._health.require_sound()  # what the driver is to say of this actor
        self._peak_flops = peak_flops("cuda" if self.device.uuid else "cpu")
        self._health.note_alone()  # after the first use of CUDA, whose context stays, and before the first child
        self._spares = Spares(self._start_child, len(os.sched_getaffinity(0)))
        self._spares.start_first(limits)
        try:
            self.scorer = Scorer(scorer, "cuda" if self.device.uuid else "cpu")
        except BaseException:
            self._spares.end()
            raise
        self.machine = Machine(
            host=socket.gethostname(),
            device=self.device.name,
            device_id=self.device.uuid or "cpu",
            sandbox=self.tier,
            freezer=freezer(),
            scorer=self.scorer.name,
            versions=installed_versions(),
        )
        self._progress = Progress(name, None, "idle")
        self._meter = GpuMeter(self.device.uuid, self._our_processes)
        self._idle_since = time.perf_counter()
        self._kept: tuple[str, LoadedSide] | None = None  # the warm baseline, under its key
        self._kernels = b""  # what CUDA compiled for it, packed
        self._references: dict[str, ModelConfig] = {}  # by the hash of the source
        self._profiles: dict[str, Profile | None] = {}  # of baselines, likewise
        self._floors: dict[str, float | None] = {}  # seconds of an image that no method reaches, likewise
        self._stretches: dict[tuple[str, int], list[float]] = {}  # see Measured; by hash and images of a call

    def progress(self) -> Progress:
        """What it is doing now. Runs beside `measure`, in a thread of its own."""
        return self._progress

    def measure(self, job: Job, more_to_come: int) -> Outcome:
        """Measures one pair, once more where its failure may not have been the candidate's.

        Never raises for what a pair does. more_to_come: jobs that are waiting, for which children are made ready
        meanwhile. Raises DeviceError where this process itself has lost its GPU while others can use it.
        """
        outcome, doubt = self._attempt(job, more_to_come, last=False)
        if doubt and not outcome.device_problem:
            self._end_children()
            fresh = replace(job, attempt=job.attempt + 1, plan=job.plan.afresh("once more"))
            again, _ = self._attempt(fresh, more_to_come, last=True)
            outcome = second_attempt(outcome, again, doubt)
        if outcome.device_problem:
            self._end_children()
        return outcome

    def _attempt(self, job: Job, more_to_come: int, last: bool) -> tuple[Outcome, str]:
        """One attempt at a pair, and why it is worth another one, or "".

        last: there is none after it, so a baseline that failed beside the candidate is tried alone now.
        """
        start = time.perf_counter()
        idle_s = start - self._idle_since
        found = PairState(oom_kills=oom_kills())
        status, detail, log = Status.MEASURED, "", ""
        try:
            self._measure(job, more_to_come, found)
        except SideFailure as failed:
            failure = failed.failure
            status, detail, log = failure.status, failure.detail, failure.log
            found.failed = failed
            if failed.side is Side.BASELINE:
                self._drop_baseline()
                status, detail = Status.BASELINE_FAILED, f"of the baseline: {failure.status}: {failure.detail}"
                if last and found.tried and self._is_blamed_on_candidate(job, found):
                    status = Status.HINDERED_BASELINE
                    detail = f"the baseline works alone, and failed again beside the candidate: {failure}"
        except ReferenceFailure as failed:
            status, detail, log = Status.BASELINE_FAILED, f"of the reference: {failed}", failed.failure.log
        except ConfigMismatch as mismatch:
            status, detail = Status.CONFIG_MISMATCH, str(mismatch)
        except Rejected as rejected:
            status, detail = Status.REJECTED, str(rejected)
            found.rejected = rejected.finding
        except torch.OutOfMemoryError as error:
            beside_candidate = found.candidate is not None and found.candidate.child.alive
            status = Status.OUT_OF_MEMORY if beside_candidate else Status.BASELINE_FAILED
            detail = f"scoring, beside a loaded pipeline: {error}"
        except Exception:
            status, detail, log = Status.INFRASTRUCTURE, "the harness itself failed", traceback.format_exc()
            self._drop_baseline()
        finally:
            self._end_candidate(found)
        problem = self._device_problem(status, found)
        if found.held:
            log = f"{log}\n{found.held}".strip()
        self._now(None, "idle")
        self._idle_since = time.perf_counter()
        measurement = found.measurement
        outcome = Outcome(
            pair=job.pair,
            attempt=job.attempt,
            status=status,
            detail=detail,
            machine=self.machine,
            baseline=found.baseline.report(found.baseline_kept) if found.baseline else None,
            candidate=found.candidate.report() if found.candidate else None,
            batches=tuple(measurement.batches) if measurement else (),
            images=tuple(measurement.images) if measurement else (),
            findings=tuple(measurement.findings.values()) if measurement else (),
            layout=measurement.layout if measurement and measurement.batches else None,
            stretches_s=tuple(measurement.stretches_s) if measurement else (),
            stopped=measurement.stopped if measurement else None,
            log=log,
            device_problem=problem,
            wall_s=self._idle_since - start,
            idle_s=idle_s,
        )
        return outcome, self._doubt(found)

    def _is_blamed_on_candidate(self, job: Job, found: PairState) -> bool:
        """Whether a baseline that failed once more after a candidate was loaded works where there is none.

        Not where the kernel has ended processes for memory meanwhile: then the machine holds too little of it.
        """
        self._end_candidate(found)
        if found.held or self._oom_killed(found):
            return False
        alone = replace(job, plan=job.plan.afresh("alone"))
        draw = self._draw(alone, Layout.INTERLEAVED)
        self._now(job, "baseline: once more, alone")
        try:
            side = self._warm_baseline(alone, draw.warmup[0], found)
            for batch in draw.alone:
                side.call(batch, 0, 0, "call_s")
        except (SideFailure, ChildFailure, RuntimeError):  # the last one: no child could start, so nothing is known
            self._drop_baseline()
            return False
        return True

    def _oom_killed(self, found: PairState) -> bool:
        """Whether the kernel has ended a process of this machine for memory since the pair began."""
        now = oom_kills()
        return now is not None and found.oom_kills is not None and now > found.oom_kills

    def _draw(self, job: Job, layout: Layout) -> Draw:
        return draw(self.captions, job.plan, layout)

    def close(self) -> None:
        """Ends every child that is kept."""
        self._end_children()
        self._meter.close()
        self._health.close()

    def _measure(self, job: Job, more_to_come: int, found: PairState) -> None:
        """The way of one pair. Raises SideFailure, ReferenceFailure, ConfigMismatch and Rejected."""
        found.baseline_kept = self._kept_for(job) is not None
        self._spares.expect(more_to_come + (1 if found.baseline_kept else 2), job.limits)
        draw = self._draw(job, Layout.INTERLEAVED)
        measurement = found.measurement = Measurement(
            job, self.scorer, self._meter, self._spares.still, self._report(job)
        )
        baseline = self._warm_baseline(job, draw.warmup[0], found)
        with failures_of(Side.BASELINE):
            measurement.floor_s = self._floor_s(job, draw, baseline)
        if job.plan.stretches:
            measurement.take_stretches(draw, baseline, self._stretches.get(_stretches_key(job), ()))
        reference = self._reference(job, baseline)
        try:
            measurement.interleaved(draw, self._starts(job, draw, reference, found))
        except (SideFailure, Crowded, torch.OutOfMemoryError) as failed:
            if isinstance(failed, SideFailure) and failed.failure.status is not Status.OUT_OF_MEMORY:
                raise
            self._measure_in_blocks(job, reference, found)
        else:
            self._finish_turns(job, draw, found)
        kept = self._kept_for(job)  # None where it was ended to get memory back
        if kept is not None and job.baseline.sha256 not in self._profiles:
            usable = self._profile(job, kept, draw.profile)
            self._profiles[job.baseline.sha256] = kept.profile
            if not usable:
                self._drop_baseline()

    def _finish_turns(self, job: Job, draw: Draw, found: PairState) -> None:
        """What is left to do once both sides were measured in turns. Raises SideFailure and Rejected."""
        measurement, baseline, candidate = found.measurement, found.baseline, found.candidate
        assert measurement is not None and baseline is not None and candidate is not None
        if not self._profile(job, candidate, draw.profile):
            candidate.child.end()  # one that gave no answer runs on, and nobody watches it
        if measurement.looks_slowed(baseline):
            self._end_candidate(found)
            if not found.held:
                measurement.time_alone(draw, baseline)
        calls = [row for row in measurement.measured().batches if row.side is Side.BASELINE]
        seconds = sum(row.wall_s for row in calls) / sum(row.images for row in calls)
        self._stretches.setdefault(_stretches_key(job), []).append(seconds)

    def _starts(
        self, job: Job, draw: Draw, reference: ModelConfig, found: PairState
    ) -> Iterator[tuple[LoadedSide, LoadedSide]]:
        """Both processes, started as often as the plan says. In the first start the baseline is there already.

        Whose process is started last is drawn: the candidate's in half of the starts.
        """
        others = [number % 2 == 0 for number in range(1, job.plan.starts)]
        drawn = KeyedRandom(f"{draw.order} starts").sample(others, len(others))
        for number, candidate_last in enumerate([True, *drawn]):
            if number:
                self._end_candidate(found)
                self._drop_baseline()
            warmup = draw.warmup[number]
            candidate = None if candidate_last else self._warm_candidate(job, warmup, reference, found)
            baseline = self._warm_baseline(job, warmup, found)  # again, if it had to give way to the reference
            yield baseline, candidate or self._warm_candidate(job, warmup, reference, found)

    def _measure_in_blocks(self, job: Job, reference: ModelConfig, found: PairState) -> None:
        """A pair that memory does not hold at once. Raises SideFailure, ConfigMismatch and Rejected."""
        assert found.measurement is not None
        draw = self._draw(job, Layout.BLOCKS)
        self._end_candidate(found)

        def baseline_again() -> LoadedSide:
            self._end_candidate(found)
            return self._warm_baseline(job, draw.warmup[0], found)

        found.measurement.in_blocks(draw, self._blocks(job, draw, reference, found), baseline_again)

    def _blocks(
        self, job: Job, draw: Draw, reference: ModelConfig, found: PairState
    ) -> Iterator[tuple[LoadedSide, int]]:
        """The sides of a pair in blocks, each with the device to itself, and the number of the block pair."""
        before: Side | None = None
        order = block_order(job.plan, draw)
        last_of_candidate = max(place for place, (name, _) in enumerate(order) if name is Side.CANDIDATE)
        for place, (name, number) in enumerate(order):
            if name is Side.BASELINE:
                self._end_candidate(found)
                yield self._warm_baseline(job, draw.warmup[number], found), number
            else:
                self._drop_baseline()
                if before is not Side.CANDIDATE:
                    self._warm_candidate(job, draw.warmup[number], reference, found)
                assert found.candidate is not None
                yield found.candidate, number
                if place == last_of_candidate:
                    self._profile(job, found.candidate, draw.profile)
            before = name

    def _end_candidate(self, found: PairState) -> None:
        """Ends the candidate's child, and waits until the GPU's memory is back."""
        if found.candidate is not None:
            found.candidate.child.end()
        held = self._health.wait_back(len(self._spares.children))
        if held:
            self._end_children()  # what they hold is known within bounds alone
            found.held, found.still_held = held, self._health.wait_alone()

    def _device_problem(self, status: Status, found: PairState) -> str:
        """Why the GPU cannot be trusted after a pair that ended so; empty where it can. Raises DeviceError."""
        if status in SOUND_ENDS:
            return found.still_held
        self._now(None, "checking the device")
        fault = self._health.fault()
        if not fault:
            self._health.require_own_context()
        return "; ".join(part for part in (fault, found.still_held) if part)

    def _doubt(self, found: PairState) -> str:
        """Why the end of a pair may not have been the candidate's doing; empty where it was."""
        if found.rejected is not None and found.rejected.sign is Sign.BASELINE_SLOWED:
            return "the machine may have been slow just then"
        if found.failed is None:
            return ""
        side, failure = found.failed.side, found.failed.failure
        oom_killed = self._oom_killed(found)
        return why_repeat(side, failure, beside=found.tried, crowd=self._health.crowd, oom_killed=oom_killed)

    def _warm_baseline(self, job: Job, warmup: Sequence[Batch], found: PairState) -> LoadedSide:
        """The baseline, warm from before or loaded now; `found` has it once it is warm. Raises SideFailure."""
        side = self._kept_for(job)
        if side is None:
            self._drop_baseline()
            self._now(job, "baseline: load and warm-up")
            with failures_of(Side.BASELINE):
                side = self._load(Side.BASELINE, job.baseline, job)
                self._kept = job.baseline.sha256, side
                side.warm_up(job.plan, warmup)
                side.profile = self._profiles.get(job.baseline.sha256)
                self._kernels = side.give_kernels()
            found.baseline_kept = False
        found.baseline = side
        return side

    def _floor_s(self, job: Job, draw: Draw, baseline: LoadedSide) -> float | None:
        """Seconds of an image that no method reaches, by the baseline's work; None where that cannot be counted.

        Raises ChildFailure.
        """
        key = job.baseline.sha256
        if key not in self._floors:
            if "torch_compile" in baseline.config.methods:  # counting makes a compiled pipeline compile again
                return None
            first = draw.alone[0]
            work = baseline.count_work(Batch(first.prompts[:1], first.seeds[:1]))
            self._floors[key] = work_floor_s(work, self._peak_flops) if work else None
        return self._floors[key]

    def _kept_for(self, job: Job) -> LoadedSide | None:
        """The job's baseline, if it is the one that is kept and its child still runs."""
        if self._kept is None or self._kept[0] != job.baseline.sha256 or not self._kept[1].child.alive:
            return None
        return self._kept[1]

    def _warm_candidate(
        self, job: Job, warmup: Sequence[Batch], reference: ModelConfig, found: PairState
    ) -> LoadedSide:
        """The candidate, loaded and warm; `found` has it as soon as it is loaded.

        Raises SideFailure and ConfigMismatch.
        """
        self._now(job, "candidate: load")
        self._health.note()
        found.tried = True
        with failures_of(Side.CANDIDATE):
            side = found.candidate = self._load(Side.CANDIDATE, job.candidate, job, self._kernels)
        require_same(reference, side.config)
        self._now(job, "candidate: warm-up")
        with failures_of(Side.CANDIDATE):
            side.warm_up(job.plan, warmup)
        require_same(reference, side.config)
        return side

    def _profile(self, job: Job, side: LoadedSide, batch: Batch) -> bool:
        """Looks where the time of a call goes, on a GPU. All that is judged has been measured: a failure costs nothing.

        Returns whether the child can be timed again: not after a failure, nor where it may have made CUDA graphs, which
        the end of a profile can break (https://github.com/pytorch/pytorch/issues/75504).
        """
        if not job.plan.profile or self.device.uuid is None:
            return True
        self._now(job, f"{side.side}: profile")
        try:
            side.take_profile(batch)
        except ChildFailure:
            return False
        return "torch_compile" not in side.config.methods

    def _reference(self, job: Job, baseline: LoadedSide) -> ModelConfig:
        """What the reference builds: what its source says, and the rest from its live pipeline, loaded once.

        Raises ReferenceFailure.
        """
        stated = job.reference_config
        unknown = [fact for fact in COMPARED if getattr(stated, fact) is None]
        if not unknown:
            return stated
        key = job.reference.sha256
        if key == job.baseline.sha256:
            live = baseline.config
        else:
            if key not in self._references:
                self._references[key] = self._live_reference(job)
            live = self._references[key]
        return replace(stated, **{fact: getattr(live, fact) for fact in unknown})

    def _live_reference(self, job: Job) -> ModelConfig:
        """What the reference's pipeline is; where memory does not hold it beside the baseline, that is dropped.

        Raises ReferenceFailure.
        """
        try:
            side = self._load(Side.BASELINE, job.reference, job)
        except ChildFailure as failure:
            if failure.status is Status.OUT_OF_MEMORY and self._kept is not None:
                self._drop_baseline()
                return self._live_reference(job)
            raise ReferenceFailure(failure) from failure
        side.child.end()
        return side.config

    def _load(self, side: Side, file: ModelFile, job: Job, kernels: bytes = b"") -> LoadedSide:
        """A model file in a child of its own. Raises ChildFailure, and has ended the child then."""
        child = self._spares.take(job.limits)
        try:
            return LoadedSide.load(side, child, file, kernels)
        except BaseException:
            child.end()
            raise

    def _start_child(self, limits: Limits) -> Child:
        return Child(self.tier, self.sandbox, self.device, resolved(limits, self._beside))

    def _our_processes(self) -> set[int]:
        this = psutil.Process()
        return {this.pid, *(one.pid for one in this.children(recursive=True))}

    def _end_children(self) -> None:
        self._drop_baseline()
        self._spares.end()

    def _drop_baseline(self) -> None:
        if self._kept is not None:
            self._kept[1].child.end()
            self._kept = None

    def _now(self, job: Job | None, phase: str, done: int = 0) -> None:
        self._progress = replace(
            self._progress,
            pair=job.pair if job else None,
            phase=phase,
            batch=done,
            batches=job.plan.batches if job else 0,
        )

    def _report(self, job: Job) -> Callable[[str, int], None]:
        return lambda phase, done: self._now(job, phase, done)


def _stretches_key(job: Job) -> tuple[str, int]:
    return job.baseline.sha256, job.plan.batch_size


def second_attempt(first: Outcome, second: Outcome, doubt: str) -> Outcome:
    """The outcome of a pair that was tried twice: the second attempt's, the cost of both, and why there were two."""
    why = f"this was the second attempt; the first ended as {first.status}, and {doubt} ({first.detail})"
    return replace(
        second,
        detail=second.detail if second.status is Status.MEASURED else f"{second.detail}; {why}",
        log=f"{second.log}\n{why}".strip(),
        wall_s=first.wall_s + second.wall_s,
        idle_s=first.idle_s,
    )


def require_same(reference: ModelConfig, live: ModelConfig) -> None:
    """Raises ConfigMismatch where the live candidate differs from the reference in a fact that both have."""
    different = differences(reference, live)
    if different:
        raise ConfigMismatch("; ".join(str(difference) for difference in different))
