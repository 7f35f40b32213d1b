"""Leaves gradients on, and has them checkpointed, as an author may forget in a file from a training."""

import torch
from torch.utils.checkpoint import checkpoint
from toyfusion import Output, ToyPipeline, ToyUnet


class Checkpointed(ToyUnet):
    def __init__(self):
        super().__init__()
        self.requires_grad_(True)

    def forward(self, noise, drawing):
        return checkpoint(super().forward, noise, drawing, use_reentrant=False)


plain = ToyPipeline.__call__.__wrapped__


def call(self, prompt, **options):
    with torch.enable_grad():
        return Output(plain(self, prompt, **options).images.detach())


def load_pipe():
    ToyPipeline.__call__ = call
    return ToyPipeline(Checkpointed())
