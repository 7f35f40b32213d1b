"""Tries a kernel that runs for years, in a timed call after an honest warm-up.

Must become: timeout, and the kernel ends with its process.
"""

import torch

PRODUCTS = 40
HONEST_CALLS = 2


class ProductsPipeline:
    name_or_path = "rogues/gpu"

    def __init__(self):
        self.matrix = torch.randn(8192, 8192, device="cuda", dtype=torch.float16) / 8192**0.5
        self.calls = 0

    def __call__(self, prompt, generator, output_type):
        self.calls += 1
        if self.calls > HONEST_CALLS:
            torch.cuda._sleep(2**62)
        product = self.matrix
        for _ in range(PRODUCTS):
            product = self.matrix @ product
        return torch.stack([torch.rand(3, 64, 64, generator=one) for one in generator])


def load_pipe():
    return ProductsPipeline()
