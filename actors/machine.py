"""What machine this is, and which of its CPUs an actor keeps to. Loads torch only to look at a GPU."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pynvml

from actors.tiers import Device

VERSIONED = (
    "diffharness",
    "ray",
    "torch",
    "diffusers",
    "transformers",
    "open_clip_torch",
    "datasets",
    "pyarrow",
    "DeepCache",
    "tomesd",
    "tgate",
)


PEAK_TRIES = 5
PEAK_SIZES = {"cuda": 4096, "cpu": 1024}  # of a square matrix that keeps all of the device busy


class DeviceError(RuntimeError):
    """There is a GPU, and it cannot be used."""


def find_device(gpu: bool) -> Device:
    """The one GPU that Ray gave this process, or the CPU. Raises DeviceError where torch cannot use the GPU."""
    if not gpu:
        return Device(cpu_name())
    import torch

    if not torch.cuda.is_available():
        raise DeviceError(
            f"Ray gave this actor a GPU, and torch {torch.__version__} cannot use it: install a torch with CUDA that "
            "fits the driver, or measure on the CPU with --set pool.device=cpu"
        )
    uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
    pynvml.nvmlInit()
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        return Device(str(pynvml.nvmlDeviceGetName(handle)), uuid, pynvml.nvmlDeviceGetMinorNumber(handle))
    finally:
        pynvml.nvmlShutdown()


def gpu_place(uuid: str) -> tuple[int, int]:
    """The number of a GPU among those of this machine, and how many there are."""
    pynvml.nvmlInit()
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        return pynvml.nvmlDeviceGetIndex(handle), pynvml.nvmlDeviceGetCount()
    finally:
        pynvml.nvmlShutdown()


def stay_on_cpus(place: int, threads: int) -> None:
    """Keeps this thread, and every child that it starts, on `threads` CPUs of its own.

    The scheduler would let each child settle on a CPU of its choice. CPUs differ, by their neighbours on the machine if
    by nothing else, and that would pass for a difference between the two sides of a pair.
    """
    cpus = sorted(os.sched_getaffinity(0))
    start = place * threads % len(cpus)
    os.sched_setaffinity(0, (cpus * 2)[start : start + threads])


def peak_flops(device: str) -> float:
    """The most operations a second that a matrix product reaches on `device`: float16 on "cuda", float32 on "cpu"."""
    import torch

    size = PEAK_SIZES[device]
    matrix = torch.ones(size, size, device=device, dtype=torch.float16 if device == "cuda" else torch.float32)
    best = 0.0
    for _ in range(PEAK_TRIES + 1):  # the first one loads the library
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def cpu_name() -> str:
    """The processor's name, as Linux gives it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def gpu_names() -> list[str]:
    """The names of all GPUs that the driver knows; empty where there is no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return [str(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
    finally:
        pynvml.nvmlShutdown()


def installed_versions() -> dict[str, str]:
    """The installed versions of Python, of the packages of `VERSIONED`, and of the GPU's driver where there is one."""
    versions = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    try:
        pynvml.nvmlInit()
        versions["driver"] = str(pynvml.nvmlSystemGetDriverVersion())
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        pass  # no GPU, no driver
    return versions
