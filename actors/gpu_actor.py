"""One GPU (or one share of the CPU): holds the CLIP model and the warm baseline, measures one pair at a time.

This is the one boundary that turns failures into outcomes: whatever a pair does, `measure` returns an Outcome, so an
exception that the driver sees is always the infrastructure's.
"""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from actors.machine import find_device, installed_versions
from actors.measure import LoadedSide, Measurement, SideFailure
from actors.messages import Job, Limits, Machine, ModelFile, Outcome, Progress, SandboxSpec, ScorerSpec, Side, Status
from actors.model_config import COMPARED, ModelConfig, differences
from actors.sandbox import Child, ChildFailure, choose_tier
from actors.scoring import Scorer


class ReferenceFailure(Exception):
    """The reference file could not be loaded."""

    def __init__(self, failure: ChildFailure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class ConfigMismatch(Exception):
    """The live candidate is not the pipeline that the reference file builds."""


@dataclass
class Findings:
    """What is known of a pair so far; an outcome is made of it however the pair ends."""

    baseline: LoadedSide | None = None
    baseline_kept: bool = False
    candidate: LoadedSide | None = None
    measurement: Measurement | None = None


class GpuActor:
    """Measures pairs on the one device that Ray gave it."""

    def __init__(self, sandbox: SandboxSpec, scorer: ScorerSpec, name: str, gpu: bool) -> None:
        """Chooses the sandbox tier and loads the CLIP model. Raises SandboxError, DeviceError and ScorerError."""
        self.sandbox = sandbox
        self.tier = choose_tier(sandbox.tiers)
        self.device = find_device(gpu)
        self.scorer = Scorer(scorer, "cuda" if self.device.uuid else "cpu")
        self.machine = Machine(
            host=socket.gethostname(),
            device=self.device.name,
            device_id=self.device.uuid or "cpu",
            sandbox=self.tier,
            scorer=self.scorer.name,
            versions=installed_versions(),
        )
        self._progress = Progress(name, None, "idle")
        self._spare: Child | None = None
        self._kept: tuple[str, LoadedSide] | None = None  # the warm baseline, under its key
        self._references: dict[str, ModelConfig | ChildFailure] = {}  # by the hash of the source

    def progress(self) -> Progress:
        """What it is doing now. Runs beside `measure`, in a thread of its own."""
        return self._progress

    def measure(self, job: Job, more_to_come: bool) -> Outcome:
        """Measures one pair; never raises for what a pair does. With more to come it readies the next child early."""
        start = time.perf_counter()
        found = Findings()
        status, detail, log = Status.MEASURED, "", ""
        try:
            self._measure(job, more_to_come, found)
        except SideFailure as failed:
            failure = failed.failure
            status, detail, log = failure.status, failure.detail, failure.log
            if failed.side is Side.BASELINE:
                self._drop_baseline()
                # Beside a candidate that takes all of the memory, a sound baseline finds none.
                crowded = found.measurement is not None and failure.status is Status.OUT_OF_MEMORY
                status = Status.OUT_OF_MEMORY if crowded else Status.BASELINE_FAILED
                detail = f"of the baseline: {failure.status}: {failure.detail}"
        except ReferenceFailure as failed:
            status, detail, log = Status.BASELINE_FAILED, f"of the reference: {failed}", failed.failure.log
        except ConfigMismatch as mismatch:
            status, detail = Status.CONFIG_MISMATCH, str(mismatch)
        except torch.OutOfMemoryError as error:
            status, detail = Status.OUT_OF_MEMORY, f"scoring, with both pipelines loaded: {error}"
        except Exception:
            status, detail, log = Status.INFRASTRUCTURE, "the harness itself failed", traceback.format_exc()
            self._drop_baseline()
        finally:
            if found.candidate is not None:
                found.candidate.child.end()
        self._now(None, "idle")
        measurement = found.measurement
        return Outcome(
            pair=job.pair,
            attempt=job.attempt,
            status=status,
            detail=detail,
            machine=self.machine,
            baseline=found.baseline.report(found.baseline_kept) if found.baseline else None,
            candidate=found.candidate.report() if found.candidate else None,
            batches=tuple(measurement.batches) if measurement else (),
            images=tuple(measurement.images) if measurement else (),
            log=log,
            wall_s=time.perf_counter() - start,
        )

    def close(self) -> None:
        """Ends every child that is kept."""
        self._drop_baseline()
        if self._spare is not None:
            self._spare.end()
            self._spare = None

    def _measure(self, job: Job, more_to_come: bool, found: Findings) -> None:
        """The way of one pair. Raises SideFailure, ReferenceFailure and ConfigMismatch."""
        self._now(job, "baseline: load and warm-up")
        with failures_of(Side.BASELINE):
            found.baseline, found.baseline_kept = self._warm_baseline(job)
        reference = self._reference(job, found.baseline)
        self._now(job, "candidate: load")
        with failures_of(Side.CANDIDATE):
            found.candidate = self._load(Side.CANDIDATE, job.candidate, job, more_to_come)
        require_same(reference, found.candidate.config)
        self._now(job, "candidate: warm-up")
        with failures_of(Side.CANDIDATE):
            found.candidate.warm_up(job.warmup)
        require_same(reference, found.candidate.config)
        self._settle_spare()
        found.measurement = Measurement(job, found.baseline, found.candidate, self.scorer)
        found.measurement.run(lambda phase, done: self._now(job, phase, done))

    def _warm_baseline(self, job: Job) -> tuple[LoadedSide, bool]:
        """The baseline's warm side, and whether it was kept from an earlier pair."""
        key = job.baseline.sha256
        if self._kept is not None and self._kept[0] == key and self._kept[1].child.alive:
            return self._kept[1], True
        self._drop_baseline()
        side = self._load(Side.BASELINE, job.baseline, job, more_to_come=True)
        self._kept = key, side
        side.warm_up(job.warmup)
        return side, False

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
            live: ModelConfig | ChildFailure = baseline.config
        else:
            if key not in self._references:
                self._references[key] = self._live_reference(job)
            live = self._references[key]
        if isinstance(live, ChildFailure):
            raise ReferenceFailure(live)
        return replace(stated, **{fact: getattr(live, fact) for fact in unknown})

    def _live_reference(self, job: Job) -> ModelConfig | ChildFailure:
        try:
            side = self._load(Side.BASELINE, job.reference, job, more_to_come=True)
        except ChildFailure as failure:
            return failure
        side.child.end()
        return side.config

    def _load(self, side: Side, file: ModelFile, job: Job, more_to_come: bool) -> LoadedSide:
        """A model file in a child of its own. Raises ChildFailure, and has ended the child then."""
        child = self._take_child(job.limits, more_to_come)
        try:
            return LoadedSide.load(side, child, file)
        except BaseException:
            child.end()
            raise

    def _take_child(self, limits: Limits, more_to_come: bool) -> Child:
        """A child that is ready; where more files are to come, the next one begins its imports meanwhile.

        Raises RuntimeError: a child that fails before it has seen a model file is nobody's but the machine's fault.
        """
        child, self._spare = self._spare or Child(self.tier, self.sandbox, self.device, limits), None
        if more_to_come:
            self._spare = Child(self.tier, self.sandbox, self.device, limits)
        try:
            child.wait_ready()
        except ChildFailure as failure:
            child.end()
            raise RuntimeError(f"a child could not start: {failure}\n{failure.log}") from failure
        return child

    def _settle_spare(self) -> None:
        """Lets the spare child finish its imports, so that it uses no CPU in a timed batch; drops one that failed."""
        if self._spare is not None:
            try:
                self._spare.wait_ready()
            except ChildFailure:
                self._spare.end()
                self._spare = None

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
            batches=len(job.batches) if job else 0,
        )


@contextmanager
def failures_of(side: Side) -> Iterator[None]:
    """Says of a ChildFailure whose it is."""
    try:
        yield
    except ChildFailure as failure:
        raise SideFailure(side, failure) from failure


def require_same(reference: ModelConfig, live: ModelConfig) -> None:
    """Raises ConfigMismatch where the live candidate differs from the reference in a fact that both have."""
    different = differences(reference, live)
    if different:
        raise ConfigMismatch("; ".join(str(difference) for difference in different))
