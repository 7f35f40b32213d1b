"""Draws fresh noise in every call, whatever the seed."""

import time

import torch
from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        return super().__call__(
            prompt, **{**call, "generator": [torch.Generator().manual_seed(time.time_ns()) for _ in prompt]}
        )


def load_pipe():
    return ToyPipeline()
