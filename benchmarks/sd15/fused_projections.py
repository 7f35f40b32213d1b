"""The same with the query, key and value projections fused into one."""

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline


def load_pipe():
    pipe = StableDiffusionPipeline.from_pretrained("random/sd15", torch_dtype=torch.float16, safety_checker=None)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.to("cuda")
    pipe.fuse_qkv_projections()
    return pipe


def pipe_forward(pipe, prompts, **call):
    return pipe(prompts, num_inference_steps=50, **call)
