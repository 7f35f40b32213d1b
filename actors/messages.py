"""What the driver and an actor say to each other: a job in, an outcome out.

All of it is plain frozen data that both sides trust: nothing that a model file made is ever part of it, except as
text, numbers and checked pixels. Of ours it imports the facts of a model file and what a profile holds, and no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from actors.model_config import ModelConfig
from actors.profiling import Profile


class Status(StrEnum):
    """How the run of a pair ended. One meaning each; the verdict is made from it elsewhere."""

    MEASURED = "measured"

    # Known before any pipeline runs.
    MISSING_CANDIDATE = "missing_candidate"  # a task, and no generated file for it
    MISSING_TASK = "missing_task"  # a generated file, and no task for it
    BAD_SOURCE = "bad_source"  # the file cannot be read or parsed
    NO_PIPELINE = "no_pipeline"  # neither a global `pipe` nor a `load_pipe`
    CONFIG_MISMATCH = "config_mismatch"  # not the pipeline that the reference file builds

    # What a candidate did.
    LOAD_ERROR = "load_error"  # an exception while its pipeline was made
    CALL_ERROR = "call_error"  # an exception in the call
    OUT_OF_MEMORY = "out_of_memory"  # of the device, in either phase
    EXITED = "exited"  # its process ended by itself
    KILLED = "killed"  # its process ended by a signal that was not ours
    TIMEOUT = "timeout"  # a time limit ran out
    OUTPUT_FLOOD = "output_flood"  # it printed more than the limit
    BAD_IMAGES = "bad_images"  # a wrong number, shape or kind of images
    BAD_ANSWER = "bad_answer"  # an answer that breaks the protocol
    CLOCK_MISMATCH = "clock_mismatch"  # its own clock disagrees with the supervisor's
    RESOURCE_LIMIT = "resource_limit"  # it used more of the machine than a limit allows: memory, processes, disk
    UNSTOPPABLE = "unstoppable"  # its processes did not stand still within a second of its answer
    HINDERED_BASELINE = "hindered_baseline"  # the baseline failed beside it in two attempts, and works alone
    REJECTED = "rejected"  # a sign that what it made is not what was asked for; see the findings

    # Not the candidate's doing.
    BASELINE_FAILED = "baseline_failed"  # the baseline or reference file ended in one of the ways above
    INFRASTRUCTURE = "infrastructure"  # the actor, the node or the harness itself failed


ATTEMPTS = 2  # at a pair, by one actor or by two, where its failure may not have been the candidate's
SOUND_ENDS = frozenset({Status.MEASURED, Status.CONFIG_MISMATCH, Status.REJECTED})  # no device's fault brings these


class PoolError(RuntimeError):
    """No actor could be started; says why and what to mend."""


class Side(StrEnum):
    """Which of a pair's two pipelines."""

    BASELINE = "baseline"
    CANDIDATE = "candidate"


class Layout(StrEnum):
    """How the timed batches of a pair lie in time."""

    INTERLEAVED = "interleaved"  # both sides loaded, in turns
    BLOCKS = "blocks"  # memory does not hold both: blocks of either side, in the order A B B A or B A A B


class Stopped(StrEnum):
    """Why no more batches of a measured pair were timed."""

    VERDICT = "verdict"  # more batches would change no verdict
    PRECISION = "precision"  # the speedup is known as well as was asked for
    FUTILITY = "futility"  # all batches that were planned would most likely leave it in doubt, too
    BOUND = "bound"  # all batches that were planned are measured


class Mark(StrEnum):
    """What may have disturbed a timed call."""

    BURN_IN = "burn_in"  # among the first calls of its process in turns: these may still become faster

    THROTTLED = "throttled"  # the GPU ran slower to stay within its temperature or its supply
    FOREIGN_PROCESS = "foreign_process"  # somebody else was on the GPU
    OTHER_SIDE_RAN = "other_side_ran"  # the side that should have stood still used the CPU or the GPU


class Sign(StrEnum):
    """What speaks against a candidate whose calls all ended well. Told in docs/threat-model.md, one by one."""

    BLANK_IMAGE = "blank_image"  # of one flat colour, where the baseline's is not
    DUPLICATE_IMAGES = "duplicate_images"  # one image for two prompts or seeds, where the baseline made two
    UPSCALED = "upscaled"  # made small and stretched: without the fine detail that the baseline's images have
    PAINTED_TEXT = "painted_text"  # writing in the image, where the baseline's has none
    NOT_REPEATABLE = "not_repeatable"  # an earlier prompt and seed, asked again, gave another image
    SEED_IGNORED = "seed_ignored"  # the prompts of an earlier batch with other seeds gave the same images
    CHANGED_WORK = "changed_work"  # the denoiser was called less often in a timed call than in its warm-up
    TOO_FAST = "too_fast"  # a call took less time than a small part of the baseline's work needs on this device
    BASELINE_SLOWED = "baseline_slowed"  # the baseline is slower beside this candidate than alone
    RAN_WHILE_STOPPED = "ran_while_stopped"  # it used the CPU or the GPU in the baseline's turns
    UNLIKE_BASELINE = "unlike_baseline"  # no more like the baseline's image of the same seed than like any other
    SCORE_TOO_GOOD = "score_too_good"  # a CLIP score far above the baseline's
    FEWER_CALLS = "fewer_calls"  # the denoiser was called less often in a batch than the baseline's
    CALLS_NOT_COUNTED = "calls_not_counted"  # nothing counts the calls of its denoiser, and the baseline's are counted
    WORK_DOES_NOT_FIT = "work_does_not_fit"  # it used far less CPU time or energy than its calls would need


# Those that end a pair as REJECTED unless a configuration names more; the others are warnings in its record.
REJECTING = frozenset(
    {
        Sign.BLANK_IMAGE,
        Sign.DUPLICATE_IMAGES,
        Sign.UPSCALED,
        Sign.PAINTED_TEXT,
        Sign.NOT_REPEATABLE,
        Sign.SEED_IGNORED,
        Sign.CHANGED_WORK,
        Sign.TOO_FAST,
        Sign.BASELINE_SLOWED,
        Sign.RAN_WHILE_STOPPED,
    }
)


@dataclass(frozen=True)
class Finding:
    """A sign that was seen, and a line with the numbers behind it."""

    sign: Sign
    evidence: str


@dataclass(frozen=True)
class ModelFile:
    """A model file as it travels: its text goes with the job, so what was read and hashed is what runs.

    `call` holds keyword arguments for every call, as configured. `steps` is what the source states: a pipeline that is
    called directly is told it; a `pipe_forward` only where it asks, since it mostly passes its own on. `methods` are
    the acceleration methods that the source shows (keys of METHODS).
    """

    path: str
    source: bytes
    call: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    methods: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Hash of the source, in hexadecimal."""
        return hashlib.sha256(self.source).hexdigest()


@dataclass(frozen=True)
class Batch:
    """The prompts of one call and a seed for each."""

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Limits:
    """Where a child is ended. Seconds, bytes and counts."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  (it is part of the configuration, too)

    start_s: float = 180.0  # from the start of the process until its imports are done
    load_s: float = 600.0
    warmup_s: float = 900.0  # each warm-up call; a compiling candidate compiles here
    call_s: float = 300.0  # each timed call
    output_bytes: int = 16 * 2**20  # printed on stdout and stderr together
    memory_bytes: int | None = None  # of the host, by a child and all it started; None: a third of the actor's share
    processes: int = 1024  # of a child and all it started, threads included
    open_files: int = 4096
    file_bytes: int = 16 * 2**30  # of one file
    scratch_bytes: int = 8 * 2**30  # of each folder that it may write to: its working folder, /tmp and /dev/shm
    cpu_s: float = 86_400.0  # of the CPU, by each of its processes in its whole life
    image_pixels: int = 4096 * 4096  # of one image
    clock_slack_s: float = 0.25  # the two clocks may differ by this much ...
    clock_slack: float = 0.1  # ... or by this share of the supervisor's reading


@dataclass(frozen=True)
class SandboxSpec:
    """What every child of an actor may see and use."""

    tiers: tuple[str, ...]  # acceptable, strongest first; the first that works here is used
    models: Mapping[str, str]  # name that a model file may ask for -> folder, visible and read-only
    visible: tuple[str, ...] = ()  # more folders to show, read-only
    environment: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None  # of the CPU that a child may use; None leaves it to torch
    # Imported before a child knows its file: what nearly every diffusers model file needs.
    preimports: tuple[str, ...] = ("torch", "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion")


@dataclass(frozen=True)
class ScorerSpec:
    """Which open_clip model scores the images: `model` as in `open_clip.create_model_and_transforms`."""

    model: str  # "ViT-L-14", or "local-dir:/a/folder"
    pretrained: str | None = None  # a tag such as "openai", or a checkpoint file


@dataclass(frozen=True)
class PoolSpec:
    """Where actors run and what each of them is started with."""

    address: str  # of a Ray cluster; "auto": a running one, else this machine alone; "local": this machine alone
    device: str  # "gpu", "cpu", or "auto": GPUs where there are any
    actors: int | None  # at most this many; None: one per GPU, or one that has all of a machine's CPU
    sandbox: SandboxSpec
    scorer: ScorerSpec
    captions: tuple[tuple[str, ...], ...]  # of each row of the data set: what prompts are drawn from
    limits: Limits  # of the children that start before a job is there


@dataclass(frozen=True)
class BatchRow:
    """One timed call of one side. Seconds; the supervisor's clock `wall_s` is the one that is judged."""

    batch: int  # which prompts: the same number on both sides is the same prompts and seeds
    turn: int  # when: counts the timed calls of the pair, both sides together, from 0
    side: Side
    images: int
    wall_s: float  # from sending the request to holding the last pixel
    device_s: float  # the child's own clock: CUDA events, or perf_counter on a CPU
    denoiser_calls: int | None  # calls of the UNet or transformer that the child counted
    peak_memory_bytes: int | None  # of the device, as torch allocated it; None on a CPU
    started_at: float  # seconds since the epoch
    cpu_s: float | None = None  # CPU seconds of this side in the call, all its processes together
    stopped_cpu_s: float | None = (
        None  # CPU seconds of the other side, which should stand still; None where it is alone
    )
    judged: bool = True  # False: its marks say why, and another batch was measured in its place
    marks: tuple[Mark, ...] = ()  # what may have disturbed this call
    block: int | None = None  # of batches that one start of both processes, or in blocks one block of each, answered
    started_last: bool | None = None  # whether the process of this side was started after the other one's
    # What NVML says of the GPU during the call; see actors.telemetry.Reading.
    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    power_w: float | None = None
    energy_j: float | None = None
    temperature_c: float | None = None
    gpu_busy: float | None = None
    memory_used_bytes: int | None = None
    throttle_reasons: tuple[str, ...] | None = None
    foreign_processes: int | None = None
    stopped_gpu_share: float | None = None


@dataclass(frozen=True)
class ImageRow:
    """One prompt and seed, with the CLIP score of both sides' images (100 x cosine)."""

    batch: int
    position: int  # in the batch
    prompt: str
    seed: int
    prompt_truncated: bool  # the scorer's tokenizer cut the prompt
    baseline_clip: float
    candidate_clip: float
    ssim: float  # of the two images, -1 to 1
    psnr: float  # of the two images, in dB; infinite where they are the same
    signs: tuple[Sign, ...] = ()  # what was seen in the candidate's image
    mismatched_clip: float | None = None  # score of the baseline's image with the prompt of another image


@dataclass(frozen=True)
class Measured:
    """What was measured of a pair so far.

    batches, images: only what is judged. stretches_s: seconds per image of the baseline, in stretches of calls that lie
    apart in time; those of earlier pairs on this device count.
    """

    batches: Sequence[BatchRow]
    images: Sequence[ImageRow]
    layout: Layout
    stretches_s: Sequence[float] = ()


# Looks at what was measured, after every batch; None: go on.
StoppingRule = Callable[[Measured], Stopped | None]


@dataclass(frozen=True)
class Plan:
    """How many calls are made of both sides of a pair, and when that ends. `actors.draws` says which calls.

    `key` is secret, and differs for every pair and attempt: it decides prompts, seeds and the order of turns.
    """

    key: str
    batch_size: int  # prompts of a call
    warmup_at_least: int
    warmup_at_most: int  # calls, until two in a row agree
    warmup_agreement: float  # relative difference of two calls that agree
    burn_in: int  # batches in turns, of every start, before those that are judged
    batches: int  # at most these are judged, in all starts together
    starts: int  # of both processes; the batches are shared out among them
    stretches: int  # of the baseline that a latency needs; 0 if the task asks for none
    repeats: int  # at most so many batches that something disturbed are replaced
    profile: bool  # one more call of each side, under the profiler
    stop: StoppingRule
    reject: frozenset[Sign] = REJECTING  # what ends a pair as REJECTED

    def afresh(self, why: str) -> Plan:
        """Return the plan of another attempt, which asks other questions. why: no two attempts at a pair share it."""
        return replace(self, key=hashlib.sha256(f"{self.key} {why}".encode()).hexdigest())


@dataclass(frozen=True)
class SideReport:
    """What one side cost before it was timed, what its live pipeline is, and where the time of a call goes."""

    config: ModelConfig
    load_s: float
    warmup_s: tuple[float, ...]  # each warm-up call by the supervisor's clock
    steady: bool  # the last two of them agree
    warm_from_before: bool = False  # a baseline kept warm from an earlier pair
    profile: Profile | None = None  # None on a CPU, and where no profile was asked for


@dataclass(frozen=True)
class Machine:
    """Where a pair was measured."""

    host: str
    device: str  # "NVIDIA H100 80GB HBM3", or the CPU's name
    device_id: str  # the GPU's UUID, or "cpu"
    sandbox: str  # the tier
    freezer: str  # how a child is made to stand still: "cgroup v2", "cgroup v1" or "signals"
    scorer: str  # the CLIP model with the hash of its weights
    versions: Mapping[str, str]  # python, torch, diffusers, ..., driver


@dataclass(frozen=True)
class Job:
    """One pair to measure."""

    pair: str  # the prompt id
    attempt: int
    baseline: ModelFile
    candidate: ModelFile
    reference: ModelFile  # never called: it is loaded where its source leaves a fact open
    reference_config: ModelConfig  # what the reference's source says
    plan: Plan
    limits: Limits
    place: int | None = None  # of the one actor of the pool that takes it; None: any


@dataclass(frozen=True)
class Outcome:
    """How a job ended, with all that was measured until then."""

    pair: str
    attempt: int
    status: Status
    detail: str  # one line for a person; empty where all went well
    machine: Machine | None = None
    baseline: SideReport | None = None
    candidate: SideReport | None = None
    batches: tuple[BatchRow, ...] = ()
    images: tuple[ImageRow, ...] = ()
    findings: tuple[Finding, ...] = ()  # about the candidate; at most one of each sign
    layout: Layout | None = None  # None where nothing was timed
    stretches_s: tuple[float, ...] = ()  # see Measured
    stopped: Stopped | None = None  # None where the measuring broke off
    log: str = ""  # the end of what the side that failed printed
    device_problem: str = ""  # why the actor's device cannot be trusted any more; empty where it can
    wall_s: float = 0.0  # what the actor spent on the pair
    idle_s: float = 0.0  # since the actor's last pair, or since it was ready


@dataclass(frozen=True)
class Progress:
    """What an actor is doing now."""

    actor: str
    pair: str | None
    phase: str  # for people: "baseline: load and warm-up", "candidate: load", "measuring", "idle", ...
    batch: int = 0  # timed batches done
    batches: int = 0  # at most
