"""Compiles the U-Net with torch.compile."""

import torch
from toyfusion import ToyPipeline, ToyUnet


def load_pipe():
    return ToyPipeline(torch.compile(ToyUnet()))
