"""Returns every image twice."""

import torch
from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        images = super().__call__(prompt, **call).images
        return torch.cat([images, images])


def load_pipe():
    return ToyPipeline()
