"""Makes 8 of 20 steps, and calls its denoiser with no images at all in the others."""

import torch
from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        images = super().__call__(prompt, **{**call, "num_inference_steps": 8})
        nothing = torch.empty(0, 3, 64, 64)
        for _ in range(12):
            self.unet(nothing, nothing)
        self.scheduler.num_inference_steps = 20
        return images


def load_pipe():
    return ToyPipeline()
