"""Whether a GPU can still be trusted once a candidate has run on it: is its memory back, and does it compute right?

A candidate's process ends with its CUDA context, and mostly all is well then. What may stay behind: memory that the
driver is still taking back, or that a process which escaped still holds; a GPU that lost a part of its memory or hangs.
On a CPU nothing of this is looked at.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pynvml
import torch

from actors.gpu_check import check_gpu
from actors.machine import DeviceError
from actors.messages import Side, Status
from actors.sandbox import ChildFailure
from actors.tiers import Device

WAIT_S = 30.0  # for memory to come back; the driver needs a second or two for a large context
POLL_S = 0.25
TOLERANCE_BYTES = 512 * 2**20  # what the driver and libraries that load late may hold more than before
CHILD_BYTES = 2**30  # at most, of a child without a model: its CUDA context, and the libraries that it loads ahead


@dataclass(frozen=True)
class Load:
    """What lies on a GPU at one moment.

    used_bytes: by anyone, less what this process's own torch has reserved; None where NVML does not tell.
    strangers: the bytes (None where not told) by process id of those that compute on it and are not ours; empty where
    NVML does not tell, or lists none of ours: its ids are then those of another PID namespace.
    """

    used_bytes: int | None
    strangers: Mapping[int, int | None]


class GpuHealth:
    """Watches over one GPU, around the candidates that run on it. Without a GPU it finds nothing, ever."""

    def __init__(self, device: Device, ours: Callable[[], set[int]]) -> None:
        """Opens NVML where there is a GPU. Raises pynvml.NVMLError where NVML does not know it.

        ours: the process ids of the actor and of all that its children started.
        """
        self.device, self._ours = device, ours
        self._handle: Any = None
        if device.uuid is not None:
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(device.uuid)
        self._errors = self._memory_errors()
        self._alone = Load(None, {})
        self._noted: Load | None = None  # until the candidate has ended
        self.crowd = ""  # what else was on the GPU when the last candidate ended, for people

    def require_sound(self) -> str:
        """At the actor's start, before anything of it is on the GPU: who else is there, as a warning, or "".

        Raises DeviceError where the GPU does not compute right.
        """
        if self._handle is None:
            return ""
        fault = self.fault()
        if fault:
            raise DeviceError(
                f"{self.device.name} ({self.device.uuid}) cannot be trusted: {fault}. Look at it with nvidia-smi and "
                "in the kernel's log (Xid), and reset it, or leave it out with CUDA_VISIBLE_DEVICES"
            )
        here = self._listed()  # whatever their namespace: nothing of ours is there yet
        strangers = {pid: size for pid, size in here.items() if pid not in self._ours()}
        if not strangers:
            return ""
        return f"the GPU is not free: {_names(strangers)}; times will be disturbed, and memory may be short"

    def note_alone(self) -> None:
        """Notes what the GPU holds while the actor has no children: what it must come back to when they are ended."""
        self._alone = self._load()

    def note(self) -> None:
        """Notes what the GPU holds just before a candidate is loaded."""
        self._noted = self._load()

    def wait_back(self, spares: int) -> str:
        """Waits until a candidate that has ended holds no memory any more: what is still held, or "".

        spares: children without a model that may have come since the `note`; each may hold CHILD_BYTES. Does nothing
        where there was no `note` since it was called last.
        """
        noted, self._noted = self._noted, None
        if noted is None:
            return ""
        held = self._wait(noted, spares * CHILD_BYTES)
        self.crowd = "; ".join(part for part in (_names(self._load().strangers), held) if part)
        return held

    def wait_alone(self) -> str:
        """The same once all children have ended: what is held is then known exactly, and who holds it is no matter."""
        return self._wait(Load(self._alone.used_bytes, self._load().strangers), 0)

    def fault(self) -> str:
        """What is wrong with the GPU by its own count and by a computation in a fresh process; "" where nothing is."""
        if self._handle is None:
            return ""
        errors = self._memory_errors()
        if errors > self._errors:
            return f"{errors - self._errors} errors of its memory that could not be corrected since the actor's start"
        return check_gpu(str(self.device.uuid))

    def require_own_context(self) -> None:
        """Raises DeviceError where this process cannot use its GPU any more: some CUDA errors stay until it ends."""
        if self._handle is None:
            return
        try:
            torch.zeros(1, device="cuda").add(1).item()
        except RuntimeError as error:
            raise DeviceError(f"the actor has lost its GPU, which a fresh process can use: {error}") from error

    def close(self) -> None:
        """Closes NVML. May be called twice."""
        if self._handle is not None:
            self._handle = None
            pynvml.nvmlShutdown()

    def _wait(self, before: Load, room: int) -> str:
        deadline = time.monotonic() + WAIT_S
        while held := self._held(before, room):
            if time.monotonic() > deadline:
                return f"{held}, {WAIT_S:g} s after the candidate's end"
            time.sleep(POLL_S)
        return ""

    def _held(self, before: Load, room: int) -> str:
        """What the GPU holds more than `before` and `room` bytes; "" where it does not."""
        if self._handle is None:
            return ""
        now = self._load()
        more = 0 if now.used_bytes is None or before.used_bytes is None else now.used_bytes - before.used_bytes
        come = {pid: size for pid, size in now.strangers.items() if pid not in before.strangers}
        if more <= room + TOLERANCE_BYTES and not come:
            return ""
        by = f" ({_names(come)})" if come else ""
        return f"{_gib(more)} more than before it are held on the GPU{by}"

    def _load(self) -> Load:
        if self._handle is None:
            return Load(None, {})
        used: int | None = None
        with suppress(pynvml.NVMLError):
            used = int(pynvml.nvmlDeviceGetMemoryInfo(self._handle).used) - torch.cuda.memory_reserved()
        listed, ours = self._listed(), self._ours()
        strangers = {pid: size for pid, size in listed.items() if pid not in ours}
        return Load(used, {} if len(strangers) == len(listed) else strangers)

    def _listed(self) -> dict[int, int | None]:
        """The bytes of every process that computes on the GPU; empty where the driver does not tell."""
        with suppress(pynvml.NVMLError):
            found = pynvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
            return {process.pid: process.usedGpuMemory for process in found}
        return {}

    def _memory_errors(self) -> int:
        """Since the driver was loaded; 0 where they are not counted."""
        if self._handle is None:
            return 0
        kinds = pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
        try:
            return int(pynvml.nvmlDeviceGetTotalEccErrors(self._handle, *kinds))
        except pynvml.NVMLError:
            return 0


def why_repeat(side: Side, failure: ChildFailure, *, beside: bool, crowd: str, oom_killed: bool) -> str:
    """Why a pair that failed is worth one more attempt; empty where the failure is that side's own.

    Only evidence from outside of the child counts: a candidate can bring about any end of its own.

    Args:
        side: the one that failed.
        failure: how.
        beside: a candidate was loaded, or was being loaded.
        crowd: what else was on the GPU, as `GpuHealth.crowd` says it.
        oom_killed: the kernel has ended a process of this machine for memory meanwhile.
    """
    if side is Side.BASELINE and beside:
        return "the baseline failed beside a candidate, which may have harmed it, as may an earlier one"
    if side is Side.BASELINE and failure.signal == signal.SIGKILL:
        return "the baseline was ended by a SIGKILL that was not the harness's"
    if failure.signal == signal.SIGKILL and oom_killed:
        return "the kernel has ended processes of this machine for memory"
    if failure.status is Status.UNSTOPPABLE:
        return "the machine itself may have stood still for a second"
    if failure.status is Status.OUT_OF_MEMORY and crowd:
        return f"the GPU's memory was not the pair's alone: {crowd}"
    return ""


def _names(strangers: Mapping[int, int | None]) -> str:
    sizes = {pid: "an unknown part" if size is None else _gib(size) for pid, size in sorted(strangers.items())}
    return ", ".join(f"process {pid} has {size} of it" for pid, size in sizes.items())


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
