"""Leaves guidance out after half of the steps: the later calls of the U-Net do half of the work."""

import torch
from toyfusion import ToyPipeline, ToyUnet


class CutOff(ToyUnet):
    calls, difference = 0, None

    def forward(self, noise, drawing):
        self.calls += 1
        if self.calls % 20 in range(1, 11):
            both = super().forward(noise, drawing)
            without, guided = both.chunk(2)
            self.difference = guided - without
            return both
        guided = super().forward(noise.chunk(2)[1], drawing.chunk(2)[1])
        return torch.cat([guided - self.difference, guided])


def load_pipe():
    return ToyPipeline(CutOff())
