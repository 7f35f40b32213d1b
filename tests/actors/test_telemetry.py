"""The GPU's readings, from an NVML that says what a test tells it to."""

import threading
import time
from collections import defaultdict
from itertools import chain, count, repeat
from statistics import fmean
from types import SimpleNamespace

import pynvml
import pytest

from actors import telemetry
from actors.telemetry import DISTURBING, GpuMeter, Reading

ACTOR, CHILD, STRANGER = 100, 101, 999
NEVER_S = 3600.0


class FakeNvml:
    """Stands in for the module pynvml. Each query gives its next value, then the last one again; an error is raised.

    `given` holds what each query gave, without the errors.
    """

    NVMLError = pynvml.NVMLError
    NVML_CLOCK_SM, NVML_CLOCK_MEM = pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU

    def __init__(self):
        self.opened = 0
        self.values = {}
        self.given = defaultdict(list)
        self.sampled = threading.Event()  # after the fifth sample
        self.let(sm=[1980], memory_clock=[2619], power=[700_000], energy=[0], temperature=[60], busy=[100])
        self.let(used=[10], reasons=[0], pids=[[ACTOR, CHILD]], uses=[[]])

    def let(self, **values):
        for name, given in values.items():
            self.values[name] = chain(given, repeat(given[-1])) if isinstance(given, list) else given

    def _give(self, name, handle):
        assert handle == "handle of GPU-1"
        assert self.opened == 1
        value = next(self.values[name])
        if isinstance(value, Exception):
            raise value
        self.given[name].append(value)
        if len(self.given[name]) == 5:
            self.sampled.set()
        return value

    def nvmlInit(self):
        self.opened += 1

    def nvmlShutdown(self):
        self.opened -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return f"handle of {uuid}"

    def nvmlDeviceGetClockInfo(self, handle, clock):
        return self._give({self.NVML_CLOCK_SM: "sm", self.NVML_CLOCK_MEM: "memory_clock"}[clock], handle)

    def nvmlDeviceGetPowerUsage(self, handle):
        return self._give("power", handle)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        return self._give("energy", handle)

    def nvmlDeviceGetTemperature(self, handle, sensor):
        assert sensor == self.NVML_TEMPERATURE_GPU
        return self._give("temperature", handle)

    def nvmlDeviceGetUtilizationRates(self, handle):
        return SimpleNamespace(gpu=self._give("busy", handle), memory=1)

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(used=self._give("used", handle), total=1 << 40, free=1)

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle):
        return self._give("reasons", handle)

    def nvmlDeviceGetProcessUtilization(self, handle, since_us):
        """`uses` gives (process, seconds after the start of the call, per cent) of each sample."""
        self.asked_since_us = since_us
        start_us = since_us - telemetry.LEFT_OUT_US
        return [
            SimpleNamespace(pid=pid, timeStamp=start_us + int(1e6 * after_s), smUtil=percent)
            for pid, after_s, percent in self._give("uses", handle)
        ]

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [SimpleNamespace(pid=pid) for pid in self._give("pids", handle)]


@pytest.fixture
def nvml(monkeypatch):
    """An NVML that is asked at start and at stop alone, until a test shortens `PERIOD_S`."""
    fake = FakeNvml()
    monkeypatch.setattr(telemetry, "pynvml", fake)
    monkeypatch.setattr(telemetry, "PERIOD_S", NEVER_S)
    return fake


@pytest.fixture
def meter(nvml):
    made = GpuMeter("GPU-1", lambda: {ACTOR, CHILD})
    yield made
    made.close()


def read(meter):
    meter.start()
    return meter.stop()


def unsupported():
    return pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "gpu-meter"]


def test_the_fake_has_no_query_that_nvml_has_not():
    names = [name for name in vars(FakeNvml) if name.lower().startswith("nvml")]
    assert len(names) > 10
    assert [name for name in names if not hasattr(pynvml, name)] == []


def test_every_field_in_its_unit(nvml, meter):
    nvml.let(energy=[5_000_000, 5_350_500], used=[3 << 30])
    assert read(meter) == Reading(
        sm_clock_mhz=1980.0,
        memory_clock_mhz=2619.0,
        power_w=700.0,
        energy_j=350.5,
        temperature_c=60.0,
        gpu_busy=1.0,
        memory_used_bytes=3 << 30,
        throttle_reasons=(),
        foreign_processes=0,
    )


def test_without_samples_in_between_both_ends_count(nvml, meter):
    nvml.let(sm=[1000, 2000], memory_clock=[2000, 2600], temperature=[70, 60], used=[9, 5])
    reading = read(meter)
    assert (reading.sm_clock_mhz, reading.memory_clock_mhz) == (1500, 2300)
    assert (reading.temperature_c, reading.memory_used_bytes) == (70, 9)
    assert len(nvml.given["sm"]) == 2


def test_means_and_maxima_are_over_all_samples(nvml, meter, monkeypatch):
    monkeypatch.setattr(telemetry, "PERIOD_S", 0.001)
    nvml.let(
        sm=(n**2 for n in count(30)),
        memory_clock=(n**2 for n in count(40)),
        temperature=[50, 55, 83, 60],
        used=[10, 70, 20],
    )
    meter.start()
    assert nvml.sampled.wait(10)
    reading = meter.stop()
    assert reading.sm_clock_mhz == fmean(nvml.given["sm"])
    assert reading.memory_clock_mhz == fmean(nvml.given["memory_clock"])
    assert (reading.temperature_c, reading.memory_used_bytes) == (83, 70)


def test_power_and_utilisation_leave_out_the_time_before_the_call(nvml, meter, monkeypatch):
    monkeypatch.setattr(telemetry, "PERIOD_S", 0.001)
    nvml.let(power=chain([90_000], (500_000 + n**2 for n in count())), busy=chain([0], (n % 7 + 90 for n in count())))
    meter.start()
    assert nvml.sampled.wait(10)
    reading = meter.stop()
    assert reading.power_w == pytest.approx(fmean(nvml.given["power"][1:]) / 1000)
    assert reading.gpu_busy == pytest.approx(fmean(nvml.given["busy"][1:]) / 100)


def test_energy_is_asked_at_the_ends_alone(nvml, meter, monkeypatch):
    monkeypatch.setattr(telemetry, "PERIOD_S", 0.001)
    nvml.let(energy=[1000, 4000, 99_000])
    meter.start()
    assert nvml.sampled.wait(10)
    assert meter.stop().energy_j == 3.0


@pytest.mark.parametrize(
    ("constant", "names"),
    [
        ("None", ()),
        ("GpuIdle", ()),
        ("ApplicationsClocksSetting", ()),
        ("SwPowerCap", ("sw_power_cap",)),
        ("HwSlowdown", ("hw_slowdown",)),
        ("SyncBoost", ("sync_boost",)),
        ("SwThermalSlowdown", ("sw_thermal_slowdown",)),
        ("HwThermalSlowdown", ("hw_thermal_slowdown",)),
        ("HwPowerBrakeSlowdown", ("hw_power_brake",)),
        ("DisplayClockSetting", ("display_clocks",)),
    ],
)
def test_a_reason_by_its_bit(nvml, meter, constant, names):
    nvml.let(reasons=[getattr(pynvml, f"nvmlClocksEventReason{constant}")])
    assert read(meter).throttle_reasons == names


def test_reasons_of_all_samples_are_sorted_and_named_once(nvml, meter):
    nvml.let(reasons=[0x20 | 0x4 | 0x1, 0x4 | 0x40])
    assert read(meter).throttle_reasons == ("hw_thermal_slowdown", "sw_power_cap", "sw_thermal_slowdown")


def test_a_reason_that_is_not_known_here_is_not_lost(nvml, meter):
    nvml.let(reasons=[0x400])
    assert read(meter).throttle_reasons == ("bit_0x400",)


def test_heat_and_supply_disturb_and_the_power_cap_does_not():
    assert {"sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake", "hw_slowdown"} == DISTURBING
    assert set(telemetry.REASONS.values()) >= DISTURBING


FIELDS = {
    "sm": "sm_clock_mhz",
    "memory_clock": "memory_clock_mhz",
    "power": "power_w",
    "energy": "energy_j",
    "temperature": "temperature_c",
    "busy": "gpu_busy",
    "used": "memory_used_bytes",
    "reasons": "throttle_reasons",
    "pids": "foreign_processes",
}


@pytest.mark.parametrize("query", FIELDS)
def test_an_unsupported_query_leaves_its_field_empty_and_no_other(nvml, meter, query):
    nvml.let(**{query: [unsupported()]})
    reading = read(meter)
    assert [field for field in FIELDS.values() if getattr(reading, field) is None] == [FIELDS[query]]


def test_energy_needs_both_ends(nvml, meter):
    nvml.let(energy=[5000, unsupported()])
    assert read(meter).energy_j is None
    nvml.let(energy=[unsupported(), 5000])
    assert read(meter).energy_j is None


def test_a_sample_that_could_not_be_read_is_no_zero(nvml, meter):
    nvml.let(sm=[unsupported(), 1500], temperature=[unsupported(), 55])
    reading = read(meter)
    assert (reading.sm_clock_mhz, reading.temperature_c) == (1500, 55)


def test_an_error_that_is_not_of_nvml_is_raised_at_either_end(nvml, meter):
    nvml.let(power=[ZeroDivisionError(), 700_000])
    with pytest.raises(ZeroDivisionError):
        meter.start()
    nvml.let(power=[700_000, ZeroDivisionError()])
    meter.start()
    with pytest.raises(ZeroDivisionError):
        meter.stop()
    assert not threads()


def test_an_error_that_is_not_of_nvml_in_between_is_raised_at_the_end(nvml, meter, monkeypatch):
    monkeypatch.setattr(telemetry, "PERIOD_S", 0.001)
    nvml.let(power=[700_000, ZeroDivisionError(), 700_000])
    meter.start()
    for thread in threads():
        thread.join(10)
    with pytest.raises(ZeroDivisionError):
        meter.stop()
    assert not threads()


def test_foreign_processes_by_their_ids(nvml, meter):
    nvml.let(pids=[[ACTOR, CHILD], [ACTOR, STRANGER, CHILD, STRANGER + 1]])
    assert read(meter).foreign_processes == 2


def test_the_most_foreign_processes_of_all_samples(nvml, meter):
    nvml.let(pids=[[STRANGER, ACTOR], [ACTOR]])
    assert read(meter).foreign_processes == 1


def test_by_ids_what_was_settled_does_not_matter(nvml, meter):
    nvml.let(pids=[[ACTOR, CHILD, STRANGER]])
    meter.settle()
    assert read(meter).foreign_processes == 1


def test_what_a_child_starts_in_the_call_is_ours(nvml):
    answers = iter([{ACTOR, CHILD}, {ACTOR, CHILD, CHILD + 1}])
    meter = GpuMeter("GPU-1", lambda: next(answers))
    nvml.let(pids=[[ACTOR, CHILD], [ACTOR, CHILD, CHILD + 1, STRANGER]])
    assert read(meter).foreign_processes == 1
    meter.close()


def test_ours_are_asked_once_where_nobody_new_is_seen(nvml, monkeypatch):
    monkeypatch.setattr(telemetry, "PERIOD_S", 0.001)
    asked = []
    meter = GpuMeter("GPU-1", lambda: asked.append(threading.current_thread().name) or {ACTOR, CHILD})
    meter.start()
    assert nvml.sampled.wait(10)
    meter.stop()
    assert asked == [threading.current_thread().name]
    meter.close()


def test_ours_are_asked_once_where_ids_say_nothing(nvml):
    answers = iter([{ACTOR, CHILD}])
    meter = GpuMeter("GPU-1", lambda: next(answers))
    nvml.let(pids=[[7000]])
    meter.settle()
    assert read(meter).foreign_processes == 0
    meter.close()


def test_ours_are_asked_anew_for_every_call(nvml):
    answers = iter([{ACTOR, CHILD}, {ACTOR}, {ACTOR}])
    meter = GpuMeter("GPU-1", lambda: next(answers))
    assert read(meter).foreign_processes == 0
    assert read(meter).foreign_processes == 1
    meter.close()


def test_foreign_processes_by_their_number_in_another_namespace(nvml, meter):
    nvml.let(pids=[[7000, 7001]])
    meter.settle()
    assert read(meter).foreign_processes == 0
    nvml.let(pids=[[7000, 7001], [7000, 7001, 7002]])
    assert read(meter).foreign_processes == 1
    nvml.let(pids=[[7000]])
    assert read(meter).foreign_processes == 0


def test_a_new_settle_replaces_the_old_one(nvml, meter):
    nvml.let(pids=[[7000]])
    meter.settle()
    nvml.let(pids=[[7000, 7001]])
    meter.settle()
    assert read(meter).foreign_processes == 0


def test_in_another_namespace_nothing_is_known_before_settling(nvml, meter):
    nvml.let(pids=[[7000, 7001]])
    assert read(meter).foreign_processes is None
    nvml.let(pids=[unsupported(), [7000, 7001]])
    meter.settle()
    assert read(meter).foreign_processes is None


def test_a_list_that_hides_even_ours_says_nothing(nvml, meter):
    nvml.let(pids=[[]])
    meter.settle()
    assert read(meter).foreign_processes is None


def test_without_a_gpu_every_reading_is_empty(nvml):
    meter = GpuMeter(None, lambda: pytest.fail("nobody needs to know"))
    meter.settle()
    meter.start()
    assert not threads()
    assert meter.stop() == Reading()
    meter.close()
    assert (nvml.opened, dict(nvml.given)) == (0, {})


def test_the_thread_lives_from_start_to_stop_and_stop_does_not_wait_for_a_period(meter):
    assert not threads()
    meter.start()
    assert len(threads()) == 1
    began = time.perf_counter()
    meter.stop()
    assert time.perf_counter() - began < 5
    assert not threads()


def test_it_waits_between_samples(nvml, meter, monkeypatch):
    monkeypatch.setattr(telemetry, "PERIOD_S", 0.05)
    meter.start()
    time.sleep(0.3)
    meter.stop()
    assert 3 <= len(nvml.given["sm"]) <= 8  # start, stop, and 6 at most in between


def test_a_second_reading_knows_nothing_of_the_first(nvml, meter):
    nvml.let(sm=[1000], temperature=[90], energy=[0, 1000], reasons=[0x40], used=[99], pids=[[ACTOR, STRANGER]])
    first = read(meter)
    nvml.let(sm=[2000], temperature=[40], energy=[5000, 7000], reasons=[0], used=[11], pids=[[ACTOR]])
    second = read(meter)
    assert (first.sm_clock_mhz, first.temperature_c, first.energy_j) == (1000, 90, 1.0)
    assert (first.throttle_reasons, first.memory_used_bytes, first.foreign_processes) == (
        ("hw_thermal_slowdown",),
        99,
        1,
    )
    assert (second.sm_clock_mhz, second.temperature_c, second.energy_j) == (2000, 40, 2.0)
    assert (second.throttle_reasons, second.memory_used_bytes, second.foreign_processes) == ((), 11, 0)


def test_a_call_that_was_not_stopped_does_not_reach_into_the_next(nvml, meter):
    nvml.let(temperature=[90], energy=[1000, 5000, 5500])
    meter.start()
    nvml.let(temperature=[90, 40])  # the abandoned call's last sample, then those of the next
    meter.start()
    assert len(threads()) == 1
    reading = meter.stop()
    assert (reading.temperature_c, reading.energy_j) == (40, 0.5)
    assert not threads()


def test_a_stop_without_a_start_is_empty(meter):
    assert meter.stop() == Reading()
    read(meter)
    assert meter.stop() == Reading()


def test_closing_ends_the_thread_and_nvml_once(nvml, meter):
    meter.start()
    meter.close()
    assert (threads(), nvml.opened) == ([], 0)
    meter.close()
    assert nvml.opened == 0


def test_a_gpu_that_nvml_does_not_know_is_an_error(nvml):
    def unknown(uuid):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)

    nvml.nvmlDeviceGetHandleByUUID = unknown
    with pytest.raises(pynvml.NVMLError):
        GpuMeter("GPU-2", set)


STOPPED = 102


@pytest.mark.parametrize(
    ("uses", "share"),
    [
        ([(CHILD, 0.5, 90), (STOPPED, 0.5, 20)], 0.2),
        ([(CHILD, 0.5, 90), (STOPPED, 0.1, 20)], 0.0),
        ([(CHILD, 0.5, 90)], 0.0),
        ([(STOPPED, 0.5, 20)], 0.2),
        ([], None),
        ([(STRANGER, 0.5, 90)], None),
        (unsupported(), None),
    ],
    ids=["ran", "ran just before", "stood still", "ran alone", "no sample", "ids of another namespace", "unsupported"],
)
def test_what_the_stopped_side_used_of_the_gpu(nvml, meter, uses, share):
    nvml.let(uses=[uses])
    meter.start({STOPPED})
    assert meter.stop().stopped_gpu_share == share


def test_without_a_stopped_side_nobody_is_charged(nvml, meter):
    nvml.let(uses=[[(CHILD, 0.5, 90)]])
    assert read(meter).stopped_gpu_share is None


def test_energy_that_is_used_after_the_answer_is_not_of_the_call(nvml, meter):
    nvml.let(energy=[1000, 3000, 9000])
    meter.start()
    meter.answered()
    assert meter.stop().energy_j == 2.0
