"""Asks for deterministic kernels and no benchmarking."""

import torch
from toyfusion import ToyPipeline

torch.use_deterministic_algorithms(True)
torch.backends.cudnn.benchmark = False


def load_pipe():
    return ToyPipeline()
