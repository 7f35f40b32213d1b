"""Calls the U-Net twice a step, without and with the prompt, to need less memory."""

import torch
from toyfusion import ToyPipeline, ToyUnet


class InHalves(ToyUnet):
    def __init__(self):
        super().__init__()
        self.smaller = ToyUnet()

    def forward(self, noise, drawing):
        halves = zip(noise.chunk(2), drawing.chunk(2))
        return torch.cat([self.smaller(*half) for half in halves])


def load_pipe():
    return ToyPipeline(InHalves())
