"""The same with DeepCache at interval 3 and ToMe at ratio 0.5."""

import tomesd
import torch
from DeepCache import DeepCacheSDHelper
from diffusers import DDIMScheduler, StableDiffusionPipeline


def load_pipe():
    pipe = StableDiffusionPipeline.from_pretrained("random/sd15", torch_dtype=torch.float16, safety_checker=None)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.to("cuda")
    tomesd.apply_patch(pipe, ratio=0.5)
    helper = DeepCacheSDHelper(pipe=pipe)
    helper.set_params(cache_interval=3, cache_branch_id=0)
    helper.enable()
    return pipe


def pipe_forward(pipe, prompts, **call):
    return pipe(prompts, num_inference_steps=50, **call)
