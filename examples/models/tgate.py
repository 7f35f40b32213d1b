"""T-GATE: after step 10, cross-attention is frozen and guidance is dropped; before it, self-attention is reused.

Zhang et al., Cross-Attention Makes Inference Cumbersome in Text-to-Image Diffusion Models, 2024.
"""

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from tgate import TgateSDLoader


def load_pipe():
    pipe = StableDiffusionPipeline.from_pretrained("diffharness/tiny-shapes", safety_checker=None)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.to("cuda" if torch.cuda.is_available() else "cpu")
    return TgateSDLoader(pipe)


def pipe_forward(pipe, prompts, **call):
    return pipe.tgate(prompts, num_inference_steps=24, gate_step=10, sp_interval=5, fi_interval=1, warm_up=2, **call)
