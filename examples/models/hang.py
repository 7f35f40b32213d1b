"""A candidate whose call never returns: it waits for a lock that it already holds."""

import threading

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

lock = threading.Lock()


def load_pipe():
    pipe = StableDiffusionPipeline.from_pretrained("diffharness/tiny-shapes", safety_checker=None)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    return pipe.to("cuda" if torch.cuda.is_available() else "cpu")


def pipe_forward(pipe, prompts, **call):
    with lock, lock:
        return pipe(prompts, num_inference_steps=24, **call)
