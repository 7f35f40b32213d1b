"""The acceleration methods that a source uses, by the names that it mentions and calls."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from actors.model_config import DISTILLED_LORA_WORDS, FAST_SAMPLERS

# Euler's samplers count where a file chooses one, although as a model's own sampler they say nothing.
_CHOSEN_SAMPLERS = FAST_SAMPLERS | {"EulerAncestralDiscreteScheduler", "EulerDiscreteScheduler"}

# What shows each method, as shell patterns over what `frames.Trace.seen` holds.
SIGNS: dict[str, tuple[str, ...]] = {
    "block_cache": (
        "cache_dit.enable_cache",
        ".enable_cache",
        "*.apply_cache_on_pipe",
        "*.apply_cache_on_transformer",
        "*.apply_faster_cache",
        "*.apply_first_block_cache",
        "*.apply_mag_cache",
        "*.apply_pyramid_attention_broadcast",
        "*.apply_sea_cache",
        "*.apply_taylorseer_cache",
        "*.apply_teacache",
    ),
    "channels_last": ("torch.channels_last",),
    "deepcache": ("DeepCacheSDHelper.enable", "*Tgate*DeepCacheLoader", "DeepCache.sd*"),
    "distilled_lora": tuple(f".load_lora_weights(*{word}*)" for word in DISTILLED_LORA_WORDS),
    "fast_sampler": tuple(f"{sampler}()" for sampler in sorted(_CHOSEN_SAMPLERS)),
    "fused_projections": (".fuse_qkv_projections",),
    "half_precision": (
        "torch.float16",
        "torch.half",
        "torch.bfloat16",
        ".half",
        ".bfloat16",
        "torch.autocast",
        "torch.cuda.amp.autocast",
    ),
    "quantization": (
        "*BitsAndBytesConfig",
        "*GGUFQuantizationConfig",
        "*PipelineQuantizationConfig",
        "*QuantoConfig",
        "*TorchAoConfig",
        "*.quantize_",
        "bitsandbytes.*",
        "nunchaku.*",
        "optimum.quanto.*",
        "torch.ao.quantization.*",
        "torch.quantization.*",
        "torchao.*",
    ),
    "sdpa": (
        "*AttnProcessor2_0",
        ".set_attention_backend([!x]*)",
        "*.attention_backend",
        "*.sdpa_kernel",
        "sageattention.*",
        "torch.backends.cuda.enable_*_sdp",
        "torch.backends.cuda.sdp_kernel",
    ),
    "tgate": ("*Tgate*Loader", ".tgate"),
    "tome": ("tomesd.apply_patch", "tomesd.patch.apply_patch"),
    "torch_compile": ("torch.compile", ".compile", ".compile_repeated_blocks"),
    "xformers": (
        "*XFormersAttnProcessor",
        ".enable_xformers_memory_efficient_attention",
        ".set_attention_backend(xformers)",
        ".set_use_memory_efficient_attention_xformers",
    ),
}


def methods_of(seen: Iterable[str]) -> tuple[str, ...]:
    """Return the sorted names of the methods of which a sign was seen."""
    names = list(seen)
    return tuple(
        sorted(
            method
            for method, patterns in SIGNS.items()
            if any(fnmatchcase(name, pattern) for name in names for pattern in patterns)
        )
    )
