"""Has the graph that torch.jit traced stand in the place of the U-Net."""

import torch
from toyfusion import ToyPipeline, ToyUnet


def load_pipe():
    example = torch.zeros(4, 3, 64, 64)
    pipe = ToyPipeline()
    pipe.unet = torch.jit.trace(ToyUnet().eval(), (example, example))
    pipe.unet.dtype = torch.float32
    return pipe
