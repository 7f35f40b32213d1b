import dataclasses
import functools
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FluxTransformer2DModel,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.hooks import FirstBlockCacheConfig, PyramidAttentionBroadcastConfig, apply_first_block_cache

from actors.model_config import METHODS, Difference, ModelConfig, denoiser, differences, live_config


@pytest.fixture
def pipe() -> StableDiffusionPipeline:
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=8,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    return StableDiffusionPipeline(
        vae=AutoencoderKL(block_out_channels=(8,), norm_num_groups=4),
        text_encoder=None,
        tokenizer=None,
        unet=unet,
        scheduler=PNDMScheduler(steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@pytest.fixture
def flux() -> SimpleNamespace:
    transformer = FluxTransformer2DModel(
        in_channels=4,
        num_layers=2,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=1,
        joint_attention_dim=8,
        pooled_projection_dim=8,
        axes_dims_rope=(4, 4, 8),
    )
    return SimpleNamespace(transformer=transformer)


def methods(pipe: object) -> tuple[str, ...]:
    return live_config(pipe, None).methods


def call(pipe: StableDiffusionPipeline, steps: int = 4) -> None:
    embeds = torch.zeros(1, 4, 8)
    pipe(
        prompt_embeds=embeds,
        negative_prompt_embeds=embeds,
        num_inference_steps=steps,
        height=16,
        width=16,
        output_type="latent",
    )


def test_a_plain_pipeline(pipe):
    assert live_config(pipe, 50) == ModelConfig("StableDiffusionPipeline", None, "PNDMScheduler", 50, ())


def test_model_id_and_scheduler_after_loading_and_replacing(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    loaded = StableDiffusionPipeline.from_pretrained(tmp_path, text_encoder=None, tokenizer=None)
    loaded.scheduler = DDIMScheduler.from_config(loaded.scheduler.config)
    config = live_config(loaded, None)
    assert (config.model_id, config.scheduler_class) == (str(tmp_path), "DDIMScheduler")
    json.dumps(dataclasses.asdict(config))


def test_objects_that_are_no_pipelines():
    assert live_config(object(), None) == ModelConfig("object", None, None, None, ())
    odd = SimpleNamespace(name_or_path=3, scheduler=None, unet="none", tgate=None)
    assert live_config(odd, 1) == ModelConfig("SimpleNamespace", None, None, 1, ())


def test_denoiser(pipe, flux):
    assert denoiser(pipe) is pipe.unet
    assert denoiser(flux) is flux.transformer
    assert denoiser(SimpleNamespace(unet=None, transformer=flux)) is flux
    assert denoiser(object()) is None


def test_deepcache(pipe):
    from DeepCache import DeepCacheSDHelper

    helper = DeepCacheSDHelper(pipe=pipe)
    helper.set_params(cache_interval=2)
    assert methods(pipe) == ()
    helper.enable()
    assert methods(pipe) == ("deepcache",)
    call(pipe)
    assert methods(pipe) == ("deepcache",)
    helper.disable()
    assert methods(pipe) == ()


def test_deepcache_under_another_wrapper(pipe):
    from DeepCache import DeepCacheSDHelper

    helper = DeepCacheSDHelper(pipe=pipe)
    helper.set_params(cache_interval=2)
    helper.enable()
    cached = pipe.unet.forward
    pipe.unet.forward = lambda *args, **kwargs: cached(*args, **kwargs)
    assert methods(pipe) == ("deepcache",)


def test_tome(pipe):
    import tomesd

    tomesd.apply_patch(pipe, ratio=0.5)
    assert methods(pipe) == ("tome",)
    tomesd.remove_patch(pipe)
    assert methods(pipe) == ()


def test_tgate(pipe):
    from tgate import TgateSDDeepCacheLoader, TgateSDLoader

    assert methods(TgateSDLoader(pipe)) == ("tgate",)
    assert methods(TgateSDDeepCacheLoader(pipe)) == ("deepcache", "tgate")


def test_torch_compile(pipe):
    plain = pipe.unet
    pipe.unet = torch.compile(plain)
    assert live_config(pipe, None) == ModelConfig(
        "StableDiffusionPipeline", None, "PNDMScheduler", None, ("torch_compile",)
    )
    pipe.unet = plain
    assert methods(pipe) == ()
    pipe.vae.decode = torch.compile(pipe.vae.decode)
    assert methods(pipe) == ("torch_compile",)


def test_torch_compile_of_forward_or_of_a_part(pipe, flux):
    flux.transformer.transformer_blocks[1].compile()
    assert methods(flux) == ("torch_compile",)
    pipe.unet.forward = torch.compile(pipe.unet.forward)
    assert methods(pipe) == ("torch_compile",)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(pipe, dtype):
    pipe.vae.to(dtype)
    assert methods(pipe) == ()
    pipe.unet.to(dtype)
    assert methods(pipe) == ("half_precision",)


def test_channels_last(pipe):
    pipe.unet.to(memory_format=torch.channels_last)
    assert methods(pipe) == ("channels_last",)


def test_fused_projections(pipe):
    pipe.fuse_qkv_projections()
    assert methods(pipe) == ("fused_projections",)
    pipe.unfuse_qkv_projections()
    assert methods(pipe) == ()


def test_fast_sampler(pipe):
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    assert methods(pipe) == ("fast_sampler",)


def test_attention_backends(pipe, flux):
    from diffusers.models.attention_processor import AttnProcessor2_0, XFormersAttnProcessor

    pipe.unet.set_attn_processor(AttnProcessor2_0())  # what diffusers takes by itself
    assert methods(pipe) == ()
    pipe.unet.set_attn_processor(XFormersAttnProcessor())
    assert methods(pipe) == ("xformers",)
    flux.transformer.set_attention_backend("native")
    assert methods(flux) == ("sdpa",)
    flux.transformer.reset_attention_backend()
    assert methods(flux) == ()


def test_caches_of_diffusers(flux):
    flux.transformer.enable_cache(
        PyramidAttentionBroadcastConfig(spatial_attention_block_skip_range=2, current_timestep_callback=lambda: 500)
    )
    assert methods(flux) == ("block_cache",)
    flux.transformer.disable_cache()
    assert methods(flux) == ()
    apply_first_block_cache(flux.transformer, FirstBlockCacheConfig(threshold=0.1))
    assert methods(flux) == ("block_cache",)


def test_caches_of_other_libraries(pipe, flux):
    pipe._is_cached = True  # ParaAttention and cache-dit mark the pipeline's class, which would outlive this test
    assert methods(pipe) == ("block_cache",)
    flux.transformer.enable_teacache = True
    assert methods(flux) == ("block_cache",)


def test_quantization(pipe, flux):
    # Stands for a layer of a library that is not installed here: only its module's name is looked at.
    layer = type("Linear8bitLt", (torch.nn.Linear,), {"__module__": "bitsandbytes.nn.modules"})
    pipe.unet.time_embedding.linear_1 = layer(2, 2)
    assert methods(pipe) == ("quantization",)
    flux.transformer.hf_quantizer = object()
    assert methods(flux) == ("quantization",)


def test_distilled_lora(pipe):
    # As peft leaves it: adapter name -> configuration.
    pipe.unet.peft_config = {"watercolour": None}
    assert methods(pipe) == ()
    pipe.unet.peft_config = {"LCM-LoRA": None}
    assert methods(pipe) == ("distilled_lora",)


def test_every_live_method_is_named():
    from actors.model_config import _LIVE_SIGNS

    assert _LIVE_SIGNS.keys() == METHODS.keys()


BASE = ModelConfig("StableDiffusionPipeline", "org/sd", "DDIMScheduler", 50)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"pipeline_class": "FluxPipeline"},
            "pipeline_class: reference StableDiffusionPipeline, candidate FluxPipeline",
        ),
        ({"model_id": "org/other"}, "model_id: reference org/sd, candidate org/other"),
        ({"scheduler_class": "PNDMScheduler"}, "scheduler_class: reference DDIMScheduler, candidate PNDMScheduler"),
        ({"num_inference_steps": 5}, "num_inference_steps: reference 50, candidate 5"),
    ],
)
def test_differences(change, expected):
    (difference,) = differences(BASE, dataclasses.replace(BASE, **change))
    assert str(difference) == expected
    assert difference == Difference(*change, getattr(BASE, *change), *change.values())


@pytest.mark.parametrize("field", ["pipeline_class", "model_id", "scheduler_class", "num_inference_steps"])
def test_what_one_side_does_not_know_is_no_difference(field):
    unknown = dataclasses.replace(BASE, **{field: None})
    assert differences(BASE, unknown) == differences(unknown, BASE) == differences(unknown, unknown) == ()


def test_methods_are_not_compared():
    assert differences(BASE, dataclasses.replace(BASE, methods=("deepcache",))) == ()


@pytest.mark.parametrize("same", ["models/sd", "models/sd/", "./models/sd", "models//sd", "models/x/../sd"])
def test_model_paths_are_compared_normalised(same):
    configs = [dataclasses.replace(BASE, model_id=text) for text in ("models/sd", same)]
    assert differences(*configs) == ()
    assert differences(configs[0], dataclasses.replace(BASE, model_id=f"/{same}")) != ()


def test_importing_loads_nothing_heavy():
    source = "import sys, actors.model_config; print([m for m in ('torch', 'numpy', 'diffusers') if m in sys.modules])"
    run = functools.partial(subprocess.run, capture_output=True, text=True, check=True)
    assert run([sys.executable, "-c", source]).stdout.strip() == "[]"
