"""Tries to write far behind its own memory: an illegal memory access, after which its CUDA context is of no more use.

Must become: call_error, or killed where CUDA ends the process.
"""

import torch


class Window:
    """As many bytes from an address on as its maker claims; nobody checks the claim."""

    def __init__(self, address, size):
        self.__cuda_array_interface__ = {"shape": (size,), "typestr": "|u1", "data": (address, False), "version": 3}


class ProductsPipeline:
    name_or_path = "rogues/gpu"

    def __call__(self, prompt, generator, output_type):
        own = torch.zeros(1024, dtype=torch.uint8, device="cuda")
        wild = torch.as_tensor(Window(own.data_ptr(), 2**42), device="cuda")
        wild[-(2**20) :].fill_(255)
        return torch.stack([torch.rand(3, 64, 64, generator=one) for one in generator])


def load_pipe():
    return ProductsPipeline()
