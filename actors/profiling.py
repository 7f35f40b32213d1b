"""Where the time of one call goes, and how much work it is. Taken in the child: a claim of the code under test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from actors.escaped import escaped

TOP = 5
NAME_LENGTH = 120


@dataclass(frozen=True)
class Profile:
    """What a call put on the GPU. Copies and fills count as kernels."""

    gpu_s: float  # in which at least one of them ran
    launches: int  # kernels, copies and fills
    top_kernels: tuple[tuple[str, float], ...]  # those with the most time, and their shares of all kernels' time


def profile_call(call: Callable[[], object]) -> Profile | None:
    """Runs `call` once under the profiler, and lets through what it raises.

    None without CUDA, and then `call` is not run; None too where the profiler recorded nothing.
    """
    import torch
    from torch.autograd.profiler import profile

    if not torch.cuda.is_available():
        return None
    # `torch.profiler.profile` makes one of these. In torch 2.10 to 2.12 it also warns of cleared events where there are
    # none: https://github.com/pytorch/pytorch/issues/180348
    with profile(use_cpu=False, use_device="cuda", use_kineto=True) as profiler:
        call()
        torch.cuda.synchronize()
    assert profiler.kineto_results is not None  # the end of the block sets it
    # The documented `events` and `key_averages` build a tree first: 10 s for the 60,000 kernels of a batch, this 0.7 s.
    # `export_chrome_trace` needs no tree, but reading its file back takes three times as long as this.
    events = profiler.kineto_results.events()
    if not events:  # not even the synchronisation: the profiler did not work, which is no measurement of 0
        return None
    found = summarise(
        (event.name(), event.start_ns(), event.duration_ns()) for event in events if event.device_type().name == "CUDA"
    )
    # With TEARDOWN_CUPTI the profiler lets go in the first call of CUDA that follows: not in a timed one.
    torch.cuda.synchronize()
    return found


def count_operations(call: Callable[[], object]) -> int:
    """The floating-point operations of `call`: of matrix products, convolutions and attention, by torch's formulas.

    As torch's own FlopCounterMode counts; but that has torch import its compiler, 800 modules, into a process whose
    calls are to be timed. Lets through what `call` raises.
    """
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    total = 0

    class Counter(TorchDispatchMode):
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            return False  # nothing is compiled here, and skipping imports it

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal total
            kwargs = kwargs or {}
            operations = flop_registry.get(func._overloadpacket)
            if operations is None:  # under inference mode, products come as `linear` and `matmul`
                with self:
                    result = func.decompose(*args, **kwargs)
                if result is not NotImplemented:
                    return result
            result = func(*args, **kwargs)
            if operations is not None:
                total += operations(*args, **kwargs, out_val=result)
            return result

    with Counter():  # type: ignore[no-untyped-call]
        call()
    return total


def summarise(spans: Iterable[tuple[str, int, int]]) -> Profile:
    """spans: the name, start and duration, in nanoseconds, of all that ran on the device, in any order.

    Names are cut before they are counted, so that no two of the kernels in the result share one.
    """
    busy = end = launches = 0
    by_name: Counter[str] = Counter()
    for name, start, duration in sorted(spans, key=lambda span: span[1]):
        busy += max(0, start + duration - max(start, end))
        end = max(end, start + duration)
        launches += 1
        by_name[name[:NAME_LENGTH]] += duration
    total = sum(by_name.values())
    top = tuple((name, duration / total) for name, duration in by_name.most_common(TOP) if total)
    return Profile(busy / 1e9, launches, top)


def read_profile(answer: Mapping[str, Any]) -> Profile | None:
    """What a child says of itself under "profile". Raises ValueError for anything of another shape."""
    try:
        claimed = answer["profile"]
        if claimed is None:
            return None
        gpu_s, launches, kernels = claimed["gpu_s"], claimed["launches"], claimed["top_kernels"]
        top = tuple((_name(name), _number(share, 1.0)) for name, share in kernels)
    except (KeyError, TypeError) as error:
        raise ValueError(f"a field is missing or wrong ({error!r})"[:200]) from error
    if type(launches) is not int or not 0 <= launches < 1 << 60 or len(top) > TOP:
        raise ValueError("launches or kernels that no call has")
    return Profile(_number(gpu_s, 1e9), launches, top)


# The messages say the type, not the value: `repr` of lists in lists in lists ends in a RecursionError.
def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} where a kernel's name belongs")
    return escaped(value[:NAME_LENGTH])[:NAME_LENGTH]


def _number(value: Any, most: float) -> float:
    if type(value) not in (int, float) or not 0 <= value <= most:  # NaN is neither
        raise ValueError(f"a {type(value).__name__} where a number from 0 to {most:g} belongs")
    return float(value)
