"""What is found of a GPU after a candidate, from an NVML, a clock and a check that say what a test tells them to."""

import os
import signal
from types import SimpleNamespace

import pynvml
import pytest
import torch

from actors import gpu_check, gpu_health
from actors.gpu_check import SOUND, check_gpu, find_fault
from actors.gpu_health import CHILD_BYTES, TOLERANCE_BYTES, WAIT_S, GpuHealth, why_repeat
from actors.machine import DeviceError
from actors.messages import Side, Status
from actors.sandbox import ChildFailure
from actors.tiers import Device

GIB = 2**30
ACTOR, CHILD, STRANGER, ESCAPED = 100, 101, 999, 1000
GPU = Device("a GPU", "GPU-1", 0)


class FakeGpu:
    """NVML, the clock and the check in one: `used` and `pids` may change with every look, and time passes in sleep."""

    def __init__(self):
        self.used, self.pids, self.errors, self.found = 10 * GIB, {ACTOR: GIB, CHILD: 9 * GIB}, 0, ""
        self.now, self.later, self.checked = 0.0, {}, []

    def sleep(self, seconds):
        self.now += seconds
        for due in [at for at in self.later if at <= self.now]:
            self.later.pop(due)()

    def memory(self, handle):
        assert handle == "handle of GPU-1"
        return SimpleNamespace(used=self.used)

    def processes(self, handle):
        if self.pids is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in self.pids.items()]

    def ecc(self, handle, kind, counter):
        if self.errors is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return self.errors

    def check(self, uuid):
        self.checked.append(uuid)
        return self.found


@pytest.fixture
def gpu(monkeypatch):
    fake = FakeGpu()
    for name, stand_in in {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetHandleByUUID": lambda uuid: f"handle of {uuid}",
        "nvmlDeviceGetMemoryInfo": fake.memory,
        "nvmlDeviceGetComputeRunningProcesses": fake.processes,
        "nvmlDeviceGetTotalEccErrors": fake.ecc,
    }.items():
        monkeypatch.setattr(pynvml, name, stand_in)
    monkeypatch.setattr(gpu_health, "time", SimpleNamespace(monotonic=lambda: fake.now, sleep=fake.sleep))
    monkeypatch.setattr(gpu_health, "check_gpu", fake.check)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 0)
    return fake


@pytest.fixture
def health(gpu):
    return GpuHealth(GPU, lambda: {ACTOR, CHILD})


def test_on_a_cpu_nothing_is_looked_at(monkeypatch):
    monkeypatch.setattr(gpu_health, "pynvml", None)
    health = GpuHealth(Device("a CPU"), set)
    health.note_alone()
    health.note()
    assert (health.require_sound(), health.wait_back(0), health.wait_alone(), health.fault()) == ("", "", "", "")
    health.require_own_context()
    health.close()


def test_memory_that_comes_back_late_is_waited_for(gpu, health):
    health.note()
    gpu.used = 50 * GIB
    gpu.later[7.0] = lambda: setattr(gpu, "used", 10 * GIB)
    assert health.wait_back(0) == ""
    assert 7 <= gpu.now < 8


def test_memory_that_does_not_come_back_is_said_with_its_size_after_a_bounded_wait(gpu, health):
    health.note()
    gpu.used = 18 * GIB
    held = health.wait_back(0)
    assert "8.0 GiB more than before it" in held
    assert WAIT_S < gpu.now < WAIT_S + 1
    assert health.crowd == held


def test_children_that_came_meanwhile_may_hold_their_contexts_and_no_more(gpu, health):
    health.note()
    gpu.used += 2 * CHILD_BYTES + TOLERANCE_BYTES
    assert health.wait_back(2) == ""
    health.note()
    gpu.used += CHILD_BYTES + TOLERANCE_BYTES + 1
    assert health.wait_back(1) != ""


def test_what_torch_holds_in_the_actor_itself_is_not_held_by_a_candidate(gpu, health, monkeypatch):
    health.note()
    gpu.used += 3 * GIB
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 3 * GIB)
    assert health.wait_back(0) == ""


def test_without_a_note_nothing_is_waited_for(gpu, health):
    health.note()
    assert health.wait_back(0) == ""
    gpu.used = 50 * GIB
    assert health.wait_back(0) == ""


def test_a_process_that_escaped_is_named_however_little_it_holds(gpu, health):
    health.note()
    gpu.pids[ESCAPED] = 2**20
    assert f"process {ESCAPED} has 0.0 GiB" in health.wait_back(0)


def test_a_stranger_that_was_there_before_is_not_held_against_a_candidate_but_crowds_it(gpu, health):
    gpu.pids[STRANGER] = None
    health.note()
    assert health.wait_back(0) == ""
    assert health.crowd == f"process {STRANGER} has an unknown part of it"


def test_ids_of_another_pid_namespace_are_nobody(gpu, health):
    gpu.pids = {1: None}
    health.note()
    gpu.pids = {1: None, 2: None}
    assert (health.wait_back(0), health.crowd) == ("", "")


def test_a_gpu_that_tells_neither_processes_nor_errors_is_watched_by_its_memory(gpu):
    gpu.pids = gpu.errors = None
    health = GpuHealth(GPU, lambda: {ACTOR})
    health.note()
    assert (health.wait_back(0), health.fault()) == ("", "")
    health.note()
    gpu.used *= 2
    assert health.wait_back(0) != ""


def test_without_children_the_gpu_must_be_as_it_was_before_the_first(gpu, health):
    gpu.used, gpu.pids = 2 * GIB, {ACTOR: GIB}
    health.note_alone()
    gpu.pids[STRANGER] = 2**20
    assert health.wait_alone() == "", "a stranger's small memory does no harm"
    gpu.used += TOLERANCE_BYTES + 1
    assert "0.5 GiB" in health.wait_alone()


def test_a_gpu_is_computed_on_and_its_memory_errors_are_counted(gpu, health):
    assert health.fault() == ""
    gpu.found = "12 numbers are wrong"
    assert health.fault() == "12 numbers are wrong"
    assert gpu.checked == ["GPU-1", "GPU-1"]
    gpu.errors = 2
    assert health.fault().startswith("2 errors of its memory")


def test_an_actor_does_not_open_on_a_gpu_that_computes_wrongly(gpu, health):
    gpu.found = "12 numbers are wrong"
    with pytest.raises(DeviceError, match=r"GPU-1.*12 numbers are wrong.*CUDA_VISIBLE_DEVICES"):
        health.require_sound()


def test_an_actor_says_who_else_is_on_its_gpu(gpu, health):
    gpu.pids = {STRANGER: 3 * GIB}
    assert f"process {STRANGER} has 3.0 GiB of it" in health.require_sound()
    gpu.pids = {}
    assert health.require_sound() == ""


def test_an_actor_whose_own_context_is_lost_says_so(health, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch, "zeros", broken)
    with pytest.raises(DeviceError, match=r"lost its GPU.*illegal memory access"):
        health.require_own_context()


KILL = ChildFailure(Status.KILLED, "generate: the process was ended", signal=signal.SIGKILL)
SEGFAULT = ChildFailure(Status.KILLED, "generate: the process was ended", signal=signal.SIGSEGV)
UNSTOPPABLE = ChildFailure(Status.UNSTOPPABLE, "generate: it went on running")
NO_MEMORY = ChildFailure(Status.OUT_OF_MEMORY, "load: no memory")
RAISED = ChildFailure(Status.CALL_ERROR, "generate: CUDA error")


@pytest.mark.parametrize(
    ("side", "failure", "around", "expected"),
    [
        (Side.CANDIDATE, RAISED, {"crowd": "process 9"}, ""),
        (Side.CANDIDATE, SEGFAULT, {"crowd": "process 9"}, ""),
        (Side.CANDIDATE, KILL, {}, ""),
        (Side.CANDIDATE, KILL, {"oom_killed": True}, "for memory"),
        (Side.CANDIDATE, RAISED, {"oom_killed": True}, ""),
        (Side.CANDIDATE, UNSTOPPABLE, {}, "stood still"),
        (Side.CANDIDATE, NO_MEMORY, {}, ""),
        (Side.CANDIDATE, NO_MEMORY, {"crowd": "process 9"}, "process 9"),
        (Side.BASELINE, RAISED, {}, "beside a candidate"),
        (Side.BASELINE, RAISED, {"beside": False}, ""),
        (Side.BASELINE, KILL, {"beside": False}, "SIGKILL"),
    ],
)
def test_a_pair_is_repeated_only_if_something_outside_of_the_child_may_be_at_fault(side, failure, around, expected):
    why = why_repeat(side, failure, **{"beside": True, "crowd": "", "oom_killed": False, **around})
    assert expected in why
    assert bool(why) is bool(expected)


def program(folder, lines: str, monkeypatch) -> None:
    """Makes `check_gpu` start a shell script in Python's place."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    monkeypatch.setattr(gpu_check.sys, "executable", str(path))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (f'[ "$CUDA_VISIBLE_DEVICES" = GPU-1 ] && echo a warning && echo "{SOUND}"', ""),
        (f'echo "{SOUND}"; exit 3', f"failed with code 3: {SOUND}"),
        ("echo 12 numbers are wrong; exit 1", "12 numbers are wrong"),
        ("exit 0", "it said nothing"),
        (f'echo "{SOUND}"; kill -SEGV $$', "code -11"),
    ],
)
def test_only_a_check_that_ends_well_and_says_so_is_one(tmp_path, monkeypatch, lines, expected):
    program(tmp_path, lines, monkeypatch)
    found = check_gpu("GPU-1")
    assert expected in found
    assert bool(found) is bool(expected)


def test_a_check_that_hangs_is_ended(tmp_path, monkeypatch):
    program(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 60", monkeypatch)
    monkeypatch.setattr(gpu_check, "CHECK_S", 0.5)
    assert "did not end within 0.5 s" in check_gpu("GPU-1")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_the_check_starts_anywhere_and_fails_without_a_gpu(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "sees no GPU" in check_gpu("GPU-00000000-0000-0000-0000-000000000000")


def test_a_device_that_computes_or_copies_wrongly_is_found_out(monkeypatch):
    assert find_fault("cpu") == ""
    there = torch.Tensor.to

    def flawed(self, *arguments):
        moved = there(self, *arguments)
        if arguments == ("cpu",):
            moved = moved.clone()
            moved[12345] += 1
        return moved

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "to", flawed)
        assert "1 of 16777216 numbers came back changed" in find_fault("cpu")

    product = torch.Tensor.__matmul__

    def wrong_in_half(left, right):
        result = product(left, right)
        if result.dtype is torch.float16:
            result[3, 4] += 1
        return result

    monkeypatch.setattr(torch.Tensor, "__matmul__", wrong_in_half)
    assert "1 of 262144 numbers of a product of matrices in torch.float16" in find_fault("cpu")
