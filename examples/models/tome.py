"""ToMe: attention merges half of its tokens. It pays at a thousand tokens; these pictures have 256.

Bolya and Hoffman, Token Merging for Fast Stable Diffusion, CVPR workshops 2023.
"""

import tomesd
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline


def load_pipe():
    pipe = StableDiffusionPipeline.from_pretrained("diffharness/tiny-shapes", safety_checker=None)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.to("cuda" if torch.cuda.is_available() else "cpu")
    tomesd.apply_patch(pipe, ratio=0.5)
    return pipe


def pipe_forward(pipe, prompts, **call):
    return pipe(prompts, num_inference_steps=24, **call)
