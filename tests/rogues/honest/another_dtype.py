"""Runs the U-Net in bfloat16."""

import torch
from toyfusion import ToyPipeline, ToyUnet


def load_pipe():
    return ToyPipeline(ToyUnet().to(torch.bfloat16))
