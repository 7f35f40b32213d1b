"""The only process that runs a model file. Started by `actors.sandbox`; never imported by a supervisor.

    python -m actors.child REQUESTS_FD ANSWERS_FD CONFINEMENT MODULE ...

It confines itself, imports the modules, says that it is ready, and then answers one request at a time, each a method of
`Requests`: `load` (a model file's source), `generate` (prompts and seeds -> pixels), and what else is asked of a side.
What it says of itself, its own clock included, is a claim of the code under test; the supervisor checks what it can.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import importlib
import inspect
import linecache
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from types import ModuleType
from typing import Any

from actors import kernel_cache
from actors.confine import Confinement
from actors.model_config import denoiser, live_config
from actors.profiling import count_operations, profile_call
from actors.protocol import Channel, ChannelClosed

PR_SET_PDEATHSIG = 1  # linux/prctl.h
FULL = (errno.EFBIG, errno.ENOSPC, errno.EDQUOT)  # a file, or the file system that it is in, may not grow


class NoPipeline(Exception):
    """The module has neither a pipeline called `pipe` nor a `load_pipe`."""


class LoadedModel:
    """A model file's pipeline and the call of it that is timed."""

    def __init__(self, path: str, source: bytes, call: Mapping[str, Any], steps: int | None) -> None:
        self.call = dict(call)
        module = run_as_module(path, source)
        self.pipe: Any = find_pipe(module)
        self.stated_steps = steps
        self.direct = getattr(module, "pipe_forward", None) is None
        self.forward = _forward(module, self.pipe, {} if steps is None else {"num_inference_steps": steps})
        self.called = False
        self._hook: Any = None
        self._hook_is_guarded = False
        while isinstance(self.pipe, functools.partial):  # `pipe = partial(pipeline, num_inference_steps=30)`
            self.pipe = self.pipe.func
        self.denoiser_calls: int | None = None  # of the last call; None where nothing counts them
        self._prepare()

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> tuple[Any, float]:
        """Calls the pipeline once: what it returned, and the seconds that took by this process's clock."""
        import torch

        call = {
            **self.call,
            # Noise from a CPU generator is the same on every device, and one generator an image makes it
            # independent of the batch that the image is in.
            "generator": [torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            "output_type": "pt",
        }
        torch.manual_seed(seeds[0])  # for a `pipe_forward` that takes no generator
        self._count_calls()
        if self.denoiser_calls is not None:
            self.denoiser_calls = 0
        self.called = True
        if not torch.cuda.is_available():
            start = time.perf_counter()
            output = self.forward(list(prompts), **call)
            return output, time.perf_counter() - start
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
        begin.record()
        output = self.forward(list(prompts), **call)
        end.record()
        torch.cuda.synchronize()
        return output, begin.elapsed_time(end) / 1000

    def steps(self) -> int | None:
        """The steps of the last call; before one, those that it will make, or None where `pipe_forward` decides."""
        if self.called:
            steps = getattr(getattr(self.pipe, "scheduler", None), "num_inference_steps", None)
        elif self.direct:
            parameters = inspect.signature(type(self.pipe).__call__).parameters
            default = getattr(parameters.get("num_inference_steps"), "default", None)
            steps = self.stated_steps or default
        else:
            steps = None
        return steps if isinstance(steps, int) else None

    def _prepare(self) -> None:
        import torch

        if torch.cuda.is_available() and _lies_on_cpu(self.pipe):
            self.pipe.to("cuda")
        if hasattr(self.pipe, "set_progress_bar_config"):
            self.pipe.set_progress_bar_config(disable=True)
        self._count_calls()

    def _count_calls(self) -> None:
        """Has the calls of the denoiser counted, by a hook that is kept out of compiled graphs.

        There, a counter would be a reason to compile again. Importing what compiles takes seconds, so the hook is only
        guarded once something else has imported it; a file may do that as late as in its first call.
        """
        import torch

        module, compiles = denoiser(self.pipe), "torch._dynamo" in sys.modules
        if self._hook is not None and compiles == self._hook_is_guarded:
            return
        if not isinstance(module, torch.nn.Module):  # an engine of another library takes no hooks
            return
        if self._hook is not None:
            self._hook.remove()
        self._hook = module.register_forward_pre_hook(torch.compiler.disable(self._count) if compiles else self._count)
        self._hook_is_guarded = compiles
        self.denoiser_calls = self.denoiser_calls or 0

    def _count(self, module: Any, inputs: Any) -> None:
        self.denoiser_calls = (self.denoiser_calls or 0) + 1


def run_as_module(path: str, source: bytes) -> ModuleType:
    """Runs a model file's source as the module `model_file`, with `__file__` as if it had been imported from `path`."""
    module = ModuleType("model_file")
    module.__file__ = path
    sys.modules["model_file"] = module
    text = source.decode(errors="replace")
    # The file itself is not in the sandbox: tracebacks and `inspect.getsource` (Triton) read its lines from here.
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    # Without `dont_inherit` it would be compiled with this file's `from __future__ import annotations`.
    exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
    return module


def find_pipe(module: ModuleType) -> object:
    """The module's global `pipe`, else what its `load_pipe()` returns. Raises NoPipeline."""
    pipe = getattr(module, "pipe", None)
    if pipe is None:
        if not callable(getattr(module, "load_pipe", None)):
            raise NoPipeline("the file leaves neither a global `pipe` nor a function `load_pipe`")
        pipe = module.load_pipe()
    if pipe is None:
        raise NoPipeline("`load_pipe()` returned None")
    return pipe


def _forward(module: ModuleType, pipe: Any, steps: Mapping[str, int]) -> Callable[..., Any]:
    """The call to time: `pipe_forward`, else the T-GATE call of a wrapped pipeline, else the pipeline itself."""
    custom = getattr(module, "pipe_forward", None)
    if custom is None:
        target = pipe.tgate if hasattr(pipe, "tgate") else pipe
        return lambda prompts, **call: target(prompt=prompts, **{**steps, **call})
    parameters = inspect.signature(custom).parameters
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    asked = {name: value for name, value in steps.items() if name in parameters}

    def forward(prompts: list[str], **call: Any) -> Any:
        taken = {name: value for name, value in call.items() if takes_all or name in parameters}
        return custom(pipe, prompts, **{**asked, **taken})

    return forward


def _lies_on_cpu(pipe: Any) -> bool:
    """Whether the file left every part on the CPU, and no offloading is to move them."""
    parts = [part for part in getattr(pipe, "components", {}).values() if hasattr(part, "parameters")]
    if not parts or getattr(pipe, "hf_device_map", None) or any(hasattr(part, "_hf_hook") for part in parts):
        return False
    return all(parameter.device.type == "cpu" for part in parts for parameter in part.parameters())


class Requests:
    """Answers the supervisor's requests, one at a time, until it is gone."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.model: LoadedModel | None = None

    def serve(self) -> None:
        """The request loop, and the one boundary where this process catches exceptions."""
        while True:
            try:
                header, payload = self.channel.receive(kernel_cache.MOST_BYTES)
            except ChannelClosed:
                return
            try:
                answer, pixels = getattr(self, header["op"])(header, bytes(payload))
            except Exception as error:
                answer, pixels = describe(error), b""
            self.channel.send({**answer, "nonce": header["nonce"]}, pixels)

    def take_kernels(self, _: dict[str, Any], packed: bytes) -> tuple[dict[str, Any], bytes]:
        """Takes over what CUDA compiled in another child."""
        kernel_cache.unpack(packed)
        return {}, b""

    def give_kernels(self, _: dict[str, Any], __: bytes) -> tuple[dict[str, Any], bytes]:
        """What CUDA compiled in this one."""
        return {}, kernel_cache.pack()

    def load(self, header: dict[str, Any], source: bytes) -> tuple[dict[str, Any], bytes]:
        """Makes the pipeline."""
        self.model = LoadedModel(header["path"], source, header["call"], header["steps"])
        return {}, b""

    def config(self, header: dict[str, Any], _: bytes) -> tuple[dict[str, Any], bytes]:
        """What the live pipeline is. Asked for outside the timed calls: looking takes time."""
        assert self.model is not None, "config before load"
        return {"config": asdict(live_config(self.model.pipe, self.model.steps()))}, b""

    def generate(self, header: dict[str, Any], _: bytes) -> tuple[dict[str, Any], memoryview]:
        """Makes the images of one batch."""
        import torch

        from actors.pixels import to_pixels

        assert self.model is not None, "generate before load"
        output, seconds = self.model.generate(header["prompts"], header["seeds"])
        pixels = to_pixels(output)
        answer = {
            "shape": pixels.shape,
            "device_s": seconds,
            "denoiser_calls": self.model.denoiser_calls,
            "peak_memory_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
            # How often the allocator found no memory and had to give back its cache first, since the start.
            "alloc_retries": torch.cuda.memory_stats().get("num_alloc_retries", 0) if torch.cuda.is_available() else 0,
        }
        return answer, pixels.data.cast("B")

    def work(self, header: dict[str, Any], _: bytes) -> tuple[dict[str, Any], bytes]:
        """Counts the floating-point operations of one batch, and keeps none of its images."""
        model = self.model
        assert model is not None, "work before load"
        return {"operations": count_operations(lambda: model.generate(header["prompts"], header["seeds"]))}, b""

    def profile(self, header: dict[str, Any], _: bytes) -> tuple[dict[str, Any], bytes]:
        """Makes the images of one batch under the profiler, and keeps none of them."""
        model = self.model
        assert model is not None, "profile before load"
        found = profile_call(lambda: model.generate(header["prompts"], header["seeds"]))
        return {"profile": found and asdict(found)}, b""


def describe(error: Exception) -> dict[str, Any]:
    """An exception as the supervisor takes it: what kind, one line, and the end of the traceback."""
    kinds: dict[type[Exception], str] = {NoPipeline: "no_pipeline"}
    torch, pixels = sys.modules.get("torch"), sys.modules.get("actors.pixels")
    if torch is not None:
        kinds[torch.OutOfMemoryError] = "out_of_memory"
    if pixels is not None:
        kinds[pixels.BadImages] = "bad_images"
    if isinstance(error, OSError) and error.errno in FULL:
        kinds = {OSError: "file_limit"}
    kind = next((name for known, name in kinds.items() if isinstance(error, known)), "exception")
    return {
        "error": kind,
        "message": f"{type(error).__name__}: {error}"[:2000],
        "traceback": "".join(traceback.format_exception(error))[-8000:],
    }


def prepare_process() -> None:
    """Ends this process with its parent (bwrap, or the warden), even a stopped one, and gives it the usual priority."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(PermissionError):  # without rights it stays as low as its parent's
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's affair


def end_with(supervisor_fd: int) -> None:
    """Ends this process when the supervisor closes its end of the pipe, also in the middle of a call."""
    poll = select.poll()
    poll.register(supervisor_fd, select.POLLHUP)
    poll.poll()
    os._exit(1)


def warm_up_cuda() -> None:
    """Has CUDA's libraries load what they load on first use: a model file's first call would wait for it."""
    if "torch" not in sys.modules:
        return
    import torch
    from torch.nn import functional as nn

    if not torch.cuda.is_available():
        return
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        images = torch.ones(2, 64, 16, 16, device="cuda", dtype=dtype)
        kernel = torch.ones(64, 64, 3, 3, device="cuda", dtype=dtype)
        images = nn.interpolate(nn.silu(nn.group_norm(nn.conv2d(images, kernel, padding=1), 32)), scale_factor=2.0)
        tokens = nn.layer_norm(nn.linear(images.flatten(2).transpose(1, 2), kernel[:, :, 0, 0]), (64,))
        nn.scaled_dot_product_attention(tokens[:, None], tokens[:, None], tokens[:, None])
    torch.cuda.synchronize()
    torch.cuda.empty_cache()


def main() -> None:
    """Confines itself, imports, says so, and serves."""
    requests_fd, answers_fd = int(sys.argv[1]), int(sys.argv[2])
    prepare_process()
    Confinement.from_argument(sys.argv[3]).apply()
    threading.Thread(target=end_with, args=(requests_fd,), daemon=True).start()
    for name in sys.argv[4:]:
        importlib.import_module(name)
    warm_up_cuda()
    channel = Channel(requests_fd, answers_fd)
    channel.send({})
    Requests(channel).serve()


if __name__ == "__main__":
    main()
