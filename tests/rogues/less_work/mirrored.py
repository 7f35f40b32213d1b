"""Makes the first image and returns it mirrored for the next prompt."""

import torch
from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        images = super().__call__(prompt[:1], **{**call, "generator": call["generator"][:1]}).images
        return torch.cat([images, images.flip(3)])


def load_pipe():
    return ToyPipeline()
