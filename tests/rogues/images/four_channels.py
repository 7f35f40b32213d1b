"""Returns a tensor with four channels."""

import torch
from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        images = super().__call__(prompt, **call).images
        return torch.cat([images, images[:, :1]], 1)


def load_pipe():
    return ToyPipeline()
