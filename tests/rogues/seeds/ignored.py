"""Draws the same noise for every seed."""

import torch
from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        call["generator"] = [torch.Generator().manual_seed(0) for _ in prompt]
        return super().__call__(prompt, **call)


def load_pipe():
    return ToyPipeline()
