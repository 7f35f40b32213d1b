"""What a model file makes: the facts that a candidate and its reference must share, and the methods it uses.

The same facts are read twice: from the source (`harness.modelfile`) and, here, from the live pipeline in the child.
Libraries are recognised by the marks that they leave on the objects, so nothing is imported to look for them.
"""

import os
import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Name of a method in records -> the name that people read. Each has a line in `_LIVE_SIGNS` below and one in
# `harness/modelfile/methods.py`.
METHODS: dict[str, str] = {
    "block_cache": "block or step cache (cache-dit, first-block cache, PAB, FasterCache, TaylorSeer, ...)",
    "channels_last": "channels-last memory format",
    "deepcache": "DeepCache",
    "distilled_lora": "distilled LoRA (LCM, Turbo, Lightning, Hyper-SD, ...)",
    "fast_sampler": "fast sampler",
    "fused_projections": "fused QKV projections",
    "half_precision": "half precision",
    "quantization": "quantisation",
    "sdpa": "switched attention backend (SDPA, Flash, Sage)",
    "tgate": "T-GATE",
    "tome": "ToMe",
    "torch_compile": "torch.compile",
    "xformers": "xFormers attention",
}

# Attributes under which diffusers' pipelines keep the network that is called once a step.
DENOISERS = ("unet", "transformer", "decoder", "prior")

# Samplers made for few steps. Euler's are missing: SDXL is published with one, so that alone says nothing.
FAST_SAMPLERS = frozenset(
    {
        "CosineDPMSolverMultistepScheduler",
        "DEISMultistepScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverSDEScheduler",
        "DPMSolverSinglestepScheduler",
        "EDMDPMSolverMultistepScheduler",
        "FlowMatchLCMScheduler",
        "LCMScheduler",
        "SASolverScheduler",
        "SCMScheduler",
        "TCDScheduler",
        "UniPCMultistepScheduler",
    }
)

# What the names of adapters distilled for few steps contain, in lower case.
DISTILLED_LORA_WORDS = ("lcm", "turbo", "lightning", "hyper-sd", "hyper-flux", "flash-sd", "tcd", "pcm", "dmd")


@dataclass(frozen=True)
class ModelConfig:
    """The configuration of a model file; None means that it is not known, never a default.

    `methods` holds the sorted names (keys of `METHODS`) of the acceleration methods that were recognised.
    """

    pipeline_class: str | None
    model_id: str | None
    scheduler_class: str | None
    num_inference_steps: int | None
    methods: tuple[str, ...] = ()


# The facts that a candidate must share with its reference. Methods are what it may differ in.
COMPARED = ("pipeline_class", "model_id", "scheduler_class", "num_inference_steps")


@dataclass(frozen=True)
class Difference:
    """A fact that two configurations both know and do not share."""

    field: str
    reference: str | int
    candidate: str | int

    def __str__(self) -> str:
        return f"{self.field}: reference {_readable(self.reference)}, candidate {_readable(self.candidate)}"


def differences(reference: ModelConfig, candidate: ModelConfig) -> tuple[Difference, ...]:
    """List the compared facts that both sides know and that differ; a fact that one side does not know is none."""
    pairs = ((field, getattr(reference, field), getattr(candidate, field)) for field in COMPARED)
    return tuple(
        Difference(field, first, second)
        for field, first, second in pairs
        if first is not None and second is not None and _comparable(first) != _comparable(second)
    )


def _comparable(value: str | int) -> str | int:
    # A model id may be a path: "./model/" is "model". Names on the hub and class names stay as they are.
    return posixpath.normpath(value) if isinstance(value, str) else value


def _readable(value: str | int) -> str:
    # What an untrusted file says must not break the line that it is printed in.
    text = str(value)
    return text if text.isprintable() else repr(text)


def denoiser(pipe: Any) -> Any | None:
    """Return the network that `pipe` calls once a step, or None where it has none under a known name."""
    return next((found for name in DENOISERS if (found := getattr(pipe, name, None)) is not None), None)


def live_config(pipe: Any, num_inference_steps: int | None) -> ModelConfig:
    """Read the configuration of a loaded pipeline.

    `num_inference_steps` is what the caller saw or asked for: a pipeline does not keep it. Methods that replace a part
    only during a call are seen when this is called after one.
    """
    scheduler = getattr(pipe, "scheduler", None)
    model_id = getattr(pipe, "name_or_path", None)
    modules = _modules(pipe)
    return ModelConfig(
        pipeline_class=type(pipe).__name__,
        model_id=os.fspath(model_id) if isinstance(model_id, str | os.PathLike) else None,
        scheduler_class=None if scheduler is None else type(scheduler).__name__,
        num_inference_steps=num_inference_steps,
        methods=tuple(sorted(name for name, is_used in _LIVE_SIGNS.items() if is_used(pipe, modules))),
    )


def _modules(pipe: Any) -> list[Any]:
    """List every torch module of the pipeline's components, each once."""
    components = [denoiser(pipe), *getattr(pipe, "__dict__", {}).values()]
    trees = [part for part in components if callable(getattr(part, "modules", None))]
    return list({id(module): module for tree in trees for module in tree.modules()}.values())


def _own_function(module: Any, name: str) -> Any | None:
    """Return the function `name` that was set on this one module, not inherited from its class."""
    return vars(module).get(name)


def _has_deepcache(pipe: Any, modules: list[Any]) -> bool:
    # DeepCacheSDHelper replaces the `forward` of the U-Net and of its blocks; disable() puts the old ones back.
    forwards = (_own_function(module, "forward") for module in modules)
    owners = [type(pipe).__module__, *(getattr(forward, "__module__", None) for forward in forwards)]
    return any(str(owner).startswith("DeepCache.") for owner in owners)


def _has_tome(pipe: Any, modules: list[Any]) -> bool:
    # tomesd.remove_patch() leaves `_tome_info` behind but restores the class of each block.
    return any(type(module).__name__ == "ToMeBlock" for module in modules)


def _has_tgate(pipe: Any, modules: list[Any]) -> bool:
    return callable(getattr(pipe, "tgate", None))


def _has_torch_compile(pipe: Any, modules: list[Any]) -> bool:
    for module in modules:
        if type(module).__name__ == "OptimizedModule" or vars(module).get("_compiled_call_impl") is not None:
            return True
        functions = (_own_function(module, name) for name in ("forward", "encode", "decode"))
        if any(hasattr(function, "_torchdynamo_orig_callable") for function in functions):
            return True
    return False


def _has_half_precision(pipe: Any, modules: list[Any]) -> bool:
    return str(getattr(denoiser(pipe), "dtype", None)) in ("torch.float16", "torch.bfloat16")


def _has_channels_last(pipe: Any, modules: list[Any]) -> bool:
    # A 1x1 convolution is contiguous in both formats, so only weights that differ count.
    weights = (weight for module in modules for weight in module.parameters(recurse=False))
    return any(weight.dim() == 4 and weight.stride(1) == 1 and not weight.is_contiguous() for weight in weights)


def _has_fused_projections(pipe: Any, modules: list[Any]) -> bool:
    # unfuse_qkv_projections() leaves the mark on the modules named `Attention`, but takes the processor back.
    return any(
        getattr(module, "fused_projections", False) is True
        and (type(module).__name__ != "Attention" or type(module.processor).__name__.startswith("Fused"))
        for module in modules
    )


def _attention_backends(modules: list[Any]) -> set[str]:
    """Name the attention backends chosen by hand: the default processor names none."""
    backends = set()
    for processor in (vars(module).get("processor") for module in modules):
        if "XFormers" in type(processor).__name__:
            backends.add("xformers")
        elif (backend := getattr(processor, "_attention_backend", None)) is not None:
            backends.add(str(getattr(backend, "value", backend)))
    return backends


def _has_xformers(pipe: Any, modules: list[Any]) -> bool:
    return "xformers" in _attention_backends(modules)


def _has_sdpa(pipe: Any, modules: list[Any]) -> bool:
    return bool(_attention_backends(modules) - {"xformers"})


def _has_quantization(pipe: Any, modules: list[Any]) -> bool:
    libraries = ("torchao.", "bitsandbytes.", "optimum.quanto.", "torch.ao.nn.quantized.", "nunchaku.")
    for module in modules:
        if getattr(module, "hf_quantizer", None) is not None or getattr(module, "is_quantized", False) is True:
            return True
        parts = (module, *module.parameters(recurse=False))
        if any(type(part).__module__.startswith(libraries) for part in parts):
            return True
    return False


def _has_block_cache(pipe: Any, modules: list[Any]) -> bool:
    # `_is_cached` is set by cache-dit and ParaAttention, `enable_teacache` by TeaCache, hooks by diffusers.
    if getattr(pipe, "_is_cached", False) is True:
        return True
    for module in modules:
        if any(getattr(module, mark, False) is True for mark in ("_is_cached", "enable_teacache")):
            return True
        hooks = getattr(vars(module).get("_diffusers_hook"), "hooks", {})
        if any("cache" in name or name.startswith(("fbc_", "pyramid_attention")) for name in hooks):
            return True
    return False


def _has_distilled_lora(pipe: Any, modules: list[Any]) -> bool:
    # An adapter loaded without a name is called "default_0", and its origin is not kept: only the source tells then.
    adapters = (str(name).lower() for module in modules for name in getattr(module, "peft_config", None) or ())
    return any(word in adapter for adapter in adapters for word in DISTILLED_LORA_WORDS)


def _has_fast_sampler(pipe: Any, modules: list[Any]) -> bool:
    return type(getattr(pipe, "scheduler", None)).__name__ in FAST_SAMPLERS


_LIVE_SIGNS: dict[str, Callable[[Any, list[Any]], bool]] = {
    "block_cache": _has_block_cache,
    "channels_last": _has_channels_last,
    "deepcache": _has_deepcache,
    "distilled_lora": _has_distilled_lora,
    "fast_sampler": _has_fast_sampler,
    "fused_projections": _has_fused_projections,
    "half_precision": _has_half_precision,
    "quantization": _has_quantization,
    "sdpa": _has_sdpa,
    "tgate": _has_tgate,
    "tome": _has_tome,
    "torch_compile": _has_torch_compile,
    "xformers": _has_xformers,
}
