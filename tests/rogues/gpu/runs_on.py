"""Leaves a kernel on the GPU after each of its answers, so that it runs in the baseline's turn.

Must become: rejected, with ran_while_stopped or baseline_slowed; or clock_mismatch, where its own next call has to wait
for the kernel.
"""

import itertools

import torch

PRODUCTS = 240
CYCLES = int(0.25 * 1.7e9)  # of the GPU's clock that the kernel spins for: about a quarter of a second


class Products(torch.nn.Module):
    """One product of two large matrices: what a denoiser is to a pipeline."""

    def __init__(self):
        super().__init__()
        self.matrix = torch.randn(8192, 8192, device="cuda", dtype=torch.float16) / 8192**0.5

    def forward(self, product):
        return self.matrix @ product


class ProductsPipeline:
    name_or_path = "rogues/gpu"

    def __init__(self):
        self.unet = Products()

    def __call__(self, prompt, generator, output_type):
        product = self.unet.matrix
        for _ in range(PRODUCTS):
            product = self.unet(product)
        return torch.stack([torch.rand(3, 64, 64, generator=one) for one in generator])


def load_pipe():
    side, synchronize, calls = torch.cuda.Stream(), torch.cuda.synchronize, itertools.count()

    def synchronize_and_leave(*args):
        synchronize(*args)
        if next(calls) % 2:  # the program waits before and after each call
            with torch.cuda.stream(side):
                torch.cuda._sleep(CYCLES)

    torch.cuda.synchronize = synchronize_and_leave
    return ProductsPipeline()
