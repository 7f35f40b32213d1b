"""Where the time of a call goes: what is counted, and what of a child's answer is believed."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from actors.profiling import NAME_LENGTH, Profile, count_operations, profile_call, read_profile, summarise

SECOND = 10**9
GOOD = {"gpu_s": 1.5, "launches": 63_000, "top_kernels": [["gemm", 0.75], ["softmax", 0.25]]}


def span(name, start_s, seconds):
    return name, int(start_s * SECOND), int(seconds * SECOND)


class FakeProfiler:
    """Stands in for `torch.autograd.profiler.profile`: what was given to it is what it recorded."""

    def __init__(self, *events):
        self.events = [SimpleNamespace(**event) for event in events]
        self.kineto_results = None
        self.open = False

    def __call__(self, *, use_cpu, use_device, use_kineto):
        assert (use_cpu, use_device, use_kineto) == (False, "cuda", True)
        return self

    def __enter__(self):
        self.open = True
        return self

    def __exit__(self, *error):
        self.open = False
        self.kineto_results = SimpleNamespace(events=lambda: self.events)


def event(name, start_ns, duration_ns, device="CUDA"):
    return {
        "name": lambda: name,
        "start_ns": lambda: start_ns,
        "duration_ns": lambda: duration_ns,
        "device_type": lambda: SimpleNamespace(name=device),
    }


@pytest.fixture
def gpu(monkeypatch):
    """A CUDA that there is not. Returns the calls of `synchronize`."""
    synchronised = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: synchronised.append(True))
    return synchronised


@pytest.mark.parametrize(
    ("spans", "busy_s"),
    [
        ([span("a", 0, 1), span("b", 2, 1)], 2.0),
        ([span("a", 0, 1), span("b", 1, 1)], 2.0),
        ([span("a", 0, 2), span("b", 1, 2)], 3.0),
        ([span("a", 0, 4), span("b", 1, 1)], 4.0),
        ([span("a", 0, 4), span("b", 1, 1), span("c", 3, 2)], 5.0),
        ([span("a", 0, 1), span("b", 0, 1)], 1.0),
        ([span("a", 1_700_000_000, 1)], 1.0),  # the profiler's clock is the wall's
    ],
    ids=["apart", "touching", "overlapping", "within", "within a longer one that reaches on", "at once", "late"],
)
@pytest.mark.parametrize("order", [list, reversed], ids=["in order", "not in order"])
def test_time_in_which_streams_overlap_counts_once(spans, busy_s, order):
    found = summarise(order(spans))
    assert found.gpu_s == pytest.approx(busy_s, abs=1e-9)
    assert found.launches == len(spans)


def test_a_kernels_share_is_of_all_kernels_time_also_of_those_that_ran_at_once():
    found = summarise([span("gemm", 0, 1), span("Memcpy HtoD", 0, 1), span("gemm", 5, 2)])
    assert found == Profile(3.0, 3, (("gemm", 0.75), ("Memcpy HtoD", 0.25)))


def test_the_five_with_the_most_time_not_the_most_launches():
    long = [span(f"kernel {seconds}", 100 * seconds, seconds) for seconds in range(1, 8)]
    found = summarise([*long, *(span("often", 1000 + n, 0.01) for n in range(50))])
    assert [name for name, _ in found.top_kernels] == [f"kernel {seconds}" for seconds in (7, 6, 5, 4, 3)]
    assert found.top_kernels[0][1] == pytest.approx(7 / 28.5)
    assert found.launches == 57


def test_kernels_whose_cut_names_are_the_same_are_one():
    shared = "x" * NAME_LENGTH
    found = summarise([span(f"{shared}<float>", 0, 1), span(f"{shared}<half>", 1, 1), span("y", 2, 2)])
    assert dict(found.top_kernels) == {shared: 0.5, "y": 0.5}
    assert len(found.top_kernels) == 2


def test_nothing_on_the_gpu():
    assert summarise([]) == Profile(0.0, 0, ())


def test_kernels_without_a_duration_have_no_share():
    assert summarise([span("a", 1, 0), span("b", 2, 0)]) == Profile(0.0, 2, ())


def test_without_cuda_nothing_is_called(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert profile_call(lambda: pytest.fail("called")) is None


def test_one_call_under_the_profiler_and_only_what_ran_on_the_gpu_counts(monkeypatch, gpu):
    profiler = FakeProfiler(
        event("cudaLaunchKernel", 0, 9_000, device="CPU"),
        event("gemm", 1_000, 3_000),
        event("Memset", 6_000, 1_000),
        event("cudaDeviceSynchronize", 9_000, 5_000, device="CPU"),
    )
    monkeypatch.setattr(torch.autograd.profiler, "profile", profiler)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: gpu.append(profiler.open))
    calls = []
    found = profile_call(lambda: calls.append((profiler.open, len(gpu))))
    assert calls == [(True, 0)]
    assert gpu == [True, False], "what the call left on the GPU ends under the profiler, which is then gone"
    assert found == Profile(4e-6, 2, (("gemm", 0.75), ("Memset", 0.25)))


def test_a_call_that_leaves_the_gpu_idle_is_a_measurement(monkeypatch, gpu):
    profiler = FakeProfiler(event("cudaDeviceSynchronize", 0, 5_000, device="CPU"))
    monkeypatch.setattr(torch.autograd.profiler, "profile", profiler)
    assert profile_call(lambda: None) == Profile(0.0, 0, ())


def test_a_profiler_that_records_nothing_is_none(monkeypatch, gpu):
    monkeypatch.setattr(torch.autograd.profiler, "profile", FakeProfiler())
    assert profile_call(lambda: None) is None


def test_what_the_call_raises_is_let_through(monkeypatch, gpu):
    monkeypatch.setattr(torch.autograd.profiler, "profile", FakeProfiler())
    with pytest.raises(ZeroDivisionError):
        profile_call(lambda: 1 / 0)


@pytest.mark.filterwarnings("error")
def test_torchs_profiler_has_what_is_asked_of_it_and_warns_of_nothing(monkeypatch):
    """The real profiler, on the CPU: torch documents neither its results nor what they can be asked."""
    real = torch.autograd.profiler.profile
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.autograd.profiler, "profile", lambda **given: real(use_kineto=given["use_kineto"]))
    ones = torch.ones(4)
    assert profile_call(ones.exp) == Profile(0.0, 0, ())
    with real(use_kineto=True) as profiler:
        ones.exp()
    events = {event.name(): event for event in profiler.kineto_results.events()}
    assert events["aten::exp"].duration_ns() > 0
    assert events["aten::exp"].start_ns() > 0
    assert events["aten::exp"].device_type().name == "CPU"
    assert torch.autograd.DeviceType.CUDA.name == "CUDA"


def test_what_a_child_sends_is_what_it_found():
    found = summarise([span("gemm", 0, 3), span("softmax", 3, 1)])
    sent = {"gpu_s": found.gpu_s, "launches": found.launches, "top_kernels": found.top_kernels}
    assert read_profile(json.loads(json.dumps({"profile": sent}))) == found


def test_no_profile():
    assert read_profile({"profile": None}) is None


def test_an_idle_gpu_is_a_profile():
    assert read_profile({"profile": {"gpu_s": 0, "launches": 0, "top_kernels": []}}) == Profile(0.0, 0, ())


def test_long_names_are_cut():
    found = read_profile({"profile": {**GOOD, "top_kernels": [["x" * 100_000, 1]]}})
    assert found.top_kernels == (("x" * NAME_LENGTH, 1.0),)


def nested(depth=100_000):
    value = []
    for _ in range(depth):
        value = [value]
    return value


NOT_A_PROFILE = [1.5, True, "fast", [1.5, 3, []], {}, *({k: GOOD[k] for k in GOOD.keys() - {key}} for key in GOOD)]
WRONG = {
    "gpu_s": [None, "1.5", True, [1.5], -0.1, float("nan"), float("inf"), 10**400, nested()],
    "launches": [None, "63", True, 63.0, [63], -1, 10**30, float("nan"), nested()],
    "top_kernels": [None, 1, "gemm", {"gemm": 0.5}, ["gemm", 0.5], [["gemm", 0.1]] * 6],
    "kernel": [["gemm"], ["gemm", 0.5, 1], "gemm", 7, None],
    "name": [None, 7, True, ["gemm"], nested()],
    "share": [None, "0.5", True, [0.5], -0.01, 1.01, float("nan"), float("inf"), nested()],
}
IN_PLACE = {
    "gpu_s": lambda value: {**GOOD, "gpu_s": value},
    "launches": lambda value: {**GOOD, "launches": value},
    "top_kernels": lambda value: {**GOOD, "top_kernels": value},
    "kernel": lambda value: {**GOOD, "top_kernels": [["softmax", 0.5], value]},
    "name": lambda value: {**GOOD, "top_kernels": [[value, 0.5]]},
    "share": lambda value: {**GOOD, "top_kernels": [["gemm", value]]},
}


@pytest.mark.parametrize("number", range(len(NOT_A_PROFILE)))
def test_an_answer_that_is_no_profile(number):
    with pytest.raises(ValueError):
        read_profile({"profile": NOT_A_PROFILE[number]})


def test_an_answer_without_the_key():
    with pytest.raises(ValueError):
        read_profile({})


@pytest.mark.parametrize(("place", "number"), [(place, n) for place in WRONG for n in range(len(WRONG[place]))])
def test_a_wrong_value_anywhere(place, number):
    with pytest.raises(ValueError) as raised:
        read_profile({"profile": IN_PLACE[place](WRONG[place][number])})
    assert len(str(raised.value)) < 250  # it goes into the record


def test_the_supervisor_reads_without_torch():
    check = (
        "import sys; from actors.profiling import read_profile; read_profile({'profile': None}); print(*sys.modules)"
    )
    modules = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" not in modules
    assert {name for name in modules if name.split(".")[0] in ("actors", "harness")} == {
        "actors",
        "actors.escaped",
        "actors.profiling",
    }


@pytest.mark.parametrize("context", ["no_grad", "inference_mode", "enable_grad"])
def test_operations_are_those_that_torchs_own_counter_finds(context):
    layers = nn.Conv2d(3, 8, 3), nn.Flatten(2), nn.Linear(36, 64), nn.TransformerEncoderLayer(64, 4, batch_first=True)
    network, image = nn.Sequential(*layers), torch.ones(2, 3, 8, 8)
    with getattr(torch, context)():
        counted = count_operations(lambda: network(image))
        with FlopCounterMode(display=False) as known:
            network(image)
    assert counted == known.get_total_flops() > 1_000_000


def test_counting_operations_imports_no_compiler():
    # In a process of its own: another test may have imported it.
    code = "; ".join(
        [
            "import sys, torch",
            "from actors.profiling import count_operations",
            "assert count_operations(lambda: torch.ones(4, 4) @ torch.ones(4, 4)) == 128",
            "assert 'torch._dynamo' not in sys.modules",
        ]
    )
    subprocess.run([sys.executable, "-c", code], check=True)
