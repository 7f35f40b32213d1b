"""Another, smaller model than the reference's."""

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline


def load_pipe():
    pipe = StableDiffusionPipeline.from_pretrained("segmind/tiny-sd", safety_checker=None)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    return pipe.to("cuda" if torch.cuda.is_available() else "cpu")


def pipe_forward(pipe, prompts, **call):
    return pipe(prompts, num_inference_steps=24, **call)
