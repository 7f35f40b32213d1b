"""Tries a row that an embedding does not have: an assertion in the kernel fails, and the CUDA context is lost.

Must become: call_error, or killed where CUDA ends the process.
"""

import torch
from torch.nn import functional as nn


class ProductsPipeline:
    name_or_path = "rogues/gpu"

    def __call__(self, prompt, generator, output_type):
        nn.embedding(torch.tensor([10**6], device="cuda"), torch.zeros(4, 4, device="cuda"))
        return torch.stack([torch.rand(3, 64, 64, generator=one) for one in generator])


def load_pipe():
    return ProductsPipeline()
