"""The same with the UNet and the VAE in the channels-last memory format."""

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline


def load_pipe():
    pipe = StableDiffusionPipeline.from_pretrained("random/sd15", torch_dtype=torch.float16, safety_checker=None)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.to("cuda")
    pipe.unet.to(memory_format=torch.channels_last)
    pipe.vae.to(memory_format=torch.channels_last)
    return pipe


def pipe_forward(pipe, prompts, **call):
    return pipe(prompts, num_inference_steps=50, **call)
