"""Runs the U-Net with its channels last in memory."""

import torch
from toyfusion import ToyPipeline, ToyUnet


def load_pipe():
    return ToyPipeline(ToyUnet().to(memory_format=torch.channels_last))
