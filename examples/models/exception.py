"""A candidate that loads, and raises in the call: T-GATE's loader was forgotten, so there is no `tgate`."""

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline


def load_pipe():
    pipe = StableDiffusionPipeline.from_pretrained("diffharness/tiny-shapes", safety_checker=None)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    return pipe.to("cuda" if torch.cuda.is_available() else "cpu")


def pipe_forward(pipe, prompts, **call):
    return pipe.tgate(prompts, num_inference_steps=24, gate_step=10, **call)
