"""Runs the U-Net in double precision."""

import torch
from toyfusion import ToyPipeline, ToyUnet


def load_pipe():
    return ToyPipeline(ToyUnet().to(torch.float64))
