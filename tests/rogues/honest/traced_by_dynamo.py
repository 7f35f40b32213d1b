"""Has torch.compile trace the U-Net, and runs the graph as it is: no compiler is needed."""

import torch
from toyfusion import ToyPipeline


def load_pipe():
    pipe = ToyPipeline()
    pipe.unet = torch.compile(pipe.unet, backend="eager")
    return pipe
