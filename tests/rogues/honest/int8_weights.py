"""Keeps the U-Net's weights as 8-bit integers with a scale for each channel."""

import torch
from toyfusion import ToyPipeline, ToyUnet


class Quantised(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        scale = layer.weight.abs().amax((1, 2, 3), keepdim=True) / 127
        self.register_buffer("scale", scale)
        self.register_buffer("weight", (layer.weight / scale).round().to(torch.int8))

    def forward(self, images):
        return torch.nn.functional.conv2d(images, self.weight * self.scale, padding=1)


class Unet(ToyUnet):
    dtype = torch.float32


def load_pipe():
    unet = Unet()
    unet.layers = torch.nn.ModuleList(Quantised(layer) for layer in unet.layers)
    return ToyPipeline(unet)
