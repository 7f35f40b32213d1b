"""What a GPU did during a timed call: its clocks, power, heat, and who else was on it, as NVML tells them.

https://docs.nvidia.com/deploy/nvml-api/ says what each query means.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import pynvml

PERIOD_S = 0.25  # between two samples
# NVML says of each of its own samples when it ended: one in the first part of a call may show what ran just before.
LEFT_OUT_US = 250_000

REASONS = {
    pynvml.nvmlClocksEventReasonSwPowerCap: "sw_power_cap",
    pynvml.nvmlClocksEventReasonHwSlowdown: "hw_slowdown",
    pynvml.nvmlClocksEventReasonSyncBoost: "sync_boost",
    pynvml.nvmlClocksEventReasonSwThermalSlowdown: "sw_thermal_slowdown",
    pynvml.nvmlClocksEventReasonHwThermalSlowdown: "hw_thermal_slowdown",
    pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: "hw_power_brake",
    pynvml.nvmlClocksEventReasonDisplayClockSetting: "display_clocks",
}
# Nobody's slowdown: nothing to do, and clocks that the owner of the card chose.
LEFT_OUT = pynvml.nvmlClocksEventReasonGpuIdle | pynvml.nvmlClocksEventReasonApplicationsClocksSetting

# The power cap is missing by intent: it is how a card runs at its limit.
DISTURBING = frozenset({"sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake", "hw_slowdown"})


@dataclass(frozen=True)
class Reading:
    """The GPU during one call. A field is None where it could not be read: no GPU, or a card that does not offer it.

    Clocks, temperature, memory, reasons and processes are those of moments, the first just before the call and the last
    just after it. Power and utilisation are NVML's means over the time before each query (up to 1 s, by the card), so
    the query before the call is left out of them, and for calls shorter than that `energy_j` over the call's seconds
    is the better power.
    """

    sm_clock_mhz: float | None = None  # mean
    memory_clock_mhz: float | None = None  # mean
    power_w: float | None = None  # mean
    energy_j: float | None = None  # difference of the card's energy counter, start to end
    temperature_c: float | None = None  # highest
    gpu_busy: float | None = None  # mean share of time in which a kernel ran, 0 to 1
    memory_used_bytes: int | None = None  # of the card, by anyone, with what the driver holds: highest
    throttle_reasons: tuple[str, ...] | None = None  # of all samples, sorted; one without a name here is "bit_0x..."
    foreign_processes: int | None = None  # processes that compute on the GPU and are not ours: highest
    # Of NVML's samples of the call, the share in which a kernel of the side that should stand still ran, 0 to 1. NVML
    # takes about six a second, and those of the first quarter of a second are left out: None for a shorter call.
    stopped_gpu_share: float | None = None


@dataclass(frozen=True)
class _Sample:
    """The answers of one moment, in NVML's units."""

    sm_clock_mhz: int | None
    memory_clock_mhz: int | None
    power_mw: int | None
    temperature_c: int | None
    busy_percent: int | None
    memory_used_bytes: int | None
    reasons: int | None  # bit mask
    pids: list[int] | None


class GpuMeter:
    """Samples one GPU while a call is timed. Without a GPU (`uuid` None) every reading is empty.

    `ours` gives the process ids of the actor and of all that its children started. It is asked outside of the timed
    span only: before it, and after it where a process was seen that was not known before.

    Foreign processes are told by their ids. Where NVML lists processes, and none of ours, its ids are those of another
    PID namespace, and they are told by their number: as many as are more than at the last `settle`. Where NVML lists
    none at all while ours compute, or nothing was settled, their number is not known. By number, a foreign process
    that comes when one of ours goes is not seen, nor is one that was there at the last `settle`.
    """

    def __init__(self, uuid: str | None, ours: Callable[[], set[int]]) -> None:
        """Opens NVML where there is a GPU. Raises pynvml.NVMLError where NVML does not know the GPU."""
        self._ours = ours
        self._known: set[int] = set()
        self._settled: int | None = None
        self._energy_mj: int | None = None
        self._answer_mj: int | None = None
        self._stopped: frozenset[int] = frozenset()
        self._started_us = 0
        self._sampler: _Sampler | None = None
        self._handle: Any = None
        if uuid is not None:
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)

    def settle(self) -> None:
        """Notes how many processes NVML lists while only ours compute: to be called once both sides are warm."""
        if self._handle is not None:
            pids = _pids(self._handle)
            self._settled = None if pids is None else len(pids)

    def start(self, stopped: Collection[int] = ()) -> None:
        """Before the call: takes a sample and begins to take one every `PERIOD_S`. Ends what was not stopped.

        stopped: the processes of the side that should stand still meanwhile.
        """
        if self._sampler is not None:
            self._sampler.end()
        if self._handle is not None:
            self._known = self._ours()
            self._stopped, self._started_us = frozenset(stopped), time.time_ns() // 1000
            self._sampler = _Sampler(self._handle)
            self._energy_mj, self._answer_mj = _energy_mj(self._handle), None

    def answered(self) -> None:
        """When the answer is there: what is used until the child stands still is not of the call."""
        if self._sampler is not None:
            self._answer_mj = _energy_mj(self._handle)

    def stop(self) -> Reading:
        """After the call: what was seen since `start`. Raises what made a sample fail, unless it is an NVMLError."""
        if self._sampler is None:
            return Reading()
        energy_mj = _energy_mj(self._handle) if self._answer_mj is None else self._answer_mj
        sampler, self._sampler = self._sampler, None
        samples = sampler.end()
        joules = None if energy_mj is None or self._energy_mj is None else (energy_mj - self._energy_mj) / 1000
        reading = _reading(samples, joules, self._foreign_processes([sample.pids for sample in samples if sample.pids]))
        return replace(reading, stopped_gpu_share=self._stopped_share())

    def close(self) -> None:
        """Ends the sampling and closes NVML. May be called twice."""
        if self._handle is None:
            return
        if self._sampler is not None:
            self._sampler.end()
        self._sampler = self._handle = None
        pynvml.nvmlShutdown()

    def _stopped_share(self) -> float | None:
        """See Reading. Where NVML names none of our processes, its ids are those of another PID namespace: None."""
        if not self._stopped:
            return None
        since_us = self._started_us + LEFT_OUT_US
        used = _ask(pynvml.nvmlDeviceGetProcessUtilization, self._handle, since_us) or []
        shares = {sample.pid: sample.smUtil / 100 for sample in used if sample.timeStamp >= since_us}
        if shares.keys().isdisjoint(self._known | self._stopped):
            return None
        return float(min(1.0, sum(share for pid, share in shares.items() if pid in self._stopped)))

    def _foreign_processes(self, listed: list[list[int]]) -> int | None:
        """The most foreign processes in one of NVML's lists, none of which is empty."""
        known = self._known
        if any(not known.isdisjoint(pids) and not known.issuperset(pids) for pids in listed):
            known = known | self._ours()  # what a child started in the call is no stranger
        counts = [self._count_foreign(pids, known) for pids in listed]
        return max((count for count in counts if count is not None), default=None)

    def _count_foreign(self, pids: list[int], known: set[int]) -> int | None:
        if not known.isdisjoint(pids):
            return sum(pid not in known for pid in pids)
        return None if self._settled is None else max(0, len(pids) - self._settled)


class _Sampler:
    """A thread that samples until it is ended."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._samples = [_sample(handle)]
        self._failure: Exception | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpu-meter", daemon=True)
        self._thread.start()

    def end(self) -> list[_Sample]:
        """Ends the thread, takes the last sample, and returns them all, two at least. Raises what the thread met."""
        self._ended.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return [*self._samples, _sample(self._handle)]

    def _run(self) -> None:
        try:
            while not self._ended.wait(PERIOD_S):
                self._samples.append(_sample(self._handle))
        except Exception as failure:  # a thread's own exception would reach nobody
            self._failure = failure


def _sample(handle: Any) -> _Sample:
    utilisation = _ask(pynvml.nvmlDeviceGetUtilizationRates, handle)
    return _Sample(
        sm_clock_mhz=_ask(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
        memory_clock_mhz=_ask(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM),
        power_mw=_ask(pynvml.nvmlDeviceGetPowerUsage, handle),
        temperature_c=_ask(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        busy_percent=None if utilisation is None else utilisation.gpu,
        memory_used_bytes=_memory_used(handle),
        reasons=_ask(pynvml.nvmlDeviceGetCurrentClocksEventReasons, handle),
        pids=_pids(handle),
    )


def _energy_mj(handle: Any) -> int | None:
    """Since the driver was loaded."""
    energy: int | None = _ask(pynvml.nvmlDeviceGetTotalEnergyConsumption, handle)
    return energy


def _memory_used(handle: Any) -> int | None:
    memory = _ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
    return None if memory is None else int(memory.used)


def _pids(handle: Any) -> list[int] | None:
    processes = _ask(pynvml.nvmlDeviceGetComputeRunningProcesses, handle)
    return None if processes is None else [process.pid for process in processes]


def _ask(query: Callable[..., Any], *arguments: Any) -> Any:
    """The answer, or None where NVML has none: a card or a driver does not offer every query."""
    try:
        return query(*arguments)
    except pynvml.NVMLError:
        return None


def _reading(samples: list[_Sample], energy_j: float | None, foreign_processes: int | None) -> Reading:
    within = samples[1:]
    return Reading(
        sm_clock_mhz=_mean(sample.sm_clock_mhz for sample in samples),
        memory_clock_mhz=_mean(sample.memory_clock_mhz for sample in samples),
        power_w=_mean((sample.power_mw for sample in within), 1000),
        energy_j=energy_j,
        temperature_c=max((float(s.temperature_c) for s in samples if s.temperature_c is not None), default=None),
        gpu_busy=_mean((sample.busy_percent for sample in within), 100),
        memory_used_bytes=max((s.memory_used_bytes for s in samples if s.memory_used_bytes is not None), default=None),
        throttle_reasons=_names([sample.reasons for sample in samples if sample.reasons is not None]),
        foreign_processes=foreign_processes,
    )


def _mean(values: Iterable[int | None], units: int = 1) -> float | None:
    """The mean of those that were read, in a unit that is `units` of NVML's."""
    read = [value for value in values if value is not None]
    return fmean(read) / units if read else None


def _names(masks: list[int]) -> tuple[str, ...] | None:
    """The reasons in any of the bit masks; None where there is no mask."""
    if not masks:
        return None
    bits = {1 << place for mask in masks for place in range(mask.bit_length()) if mask >> place & 1}
    return tuple(sorted(REASONS.get(bit, f"bit_{bit:#x}") for bit in bits if not bit & LEFT_OUT))
