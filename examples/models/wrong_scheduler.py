"""Another scheduler than the reference's, at the same number of steps."""

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline


def load_pipe():
    pipe = StableDiffusionPipeline.from_pretrained("diffharness/tiny-shapes", safety_checker=None)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    return pipe.to("cuda" if torch.cuda.is_available() else "cpu")


def pipe_forward(pipe, prompts, **call):
    return pipe(prompts, num_inference_steps=24, **call)
