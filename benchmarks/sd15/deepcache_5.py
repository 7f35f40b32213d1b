"""The same with DeepCache at interval 5."""

import torch
from DeepCache import DeepCacheSDHelper
from diffusers import DDIMScheduler, StableDiffusionPipeline


def load_pipe():
    pipe = StableDiffusionPipeline.from_pretrained("random/sd15", torch_dtype=torch.float16, safety_checker=None)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.to("cuda")
    helper = DeepCacheSDHelper(pipe=pipe)
    helper.set_params(cache_interval=5, cache_branch_id=0)
    helper.enable()
    return pipe


def pipe_forward(pipe, prompts, **call):
    return pipe(prompts, num_inference_steps=50, **call)
