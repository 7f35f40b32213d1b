"""Changes torch's default dtype to double."""

import torch
from toyfusion import ToyPipeline

torch.set_default_dtype(torch.float64)


def load_pipe():
    return ToyPipeline()
