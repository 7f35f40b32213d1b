"""The same with T-GATE, gate step 30."""

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from tgate import TgateSDLoader


def load_pipe():
    pipe = StableDiffusionPipeline.from_pretrained("random/sd15", torch_dtype=torch.float16, safety_checker=None)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.to("cuda")
    return TgateSDLoader(pipe)


def pipe_forward(pipe, prompts, **call):
    return pipe.tgate(prompts, num_inference_steps=50, gate_step=30, sp_interval=5, fi_interval=1, warm_up=2, **call)
