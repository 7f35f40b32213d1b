"""Tries nothing: two thirds of the baseline's products.

Must become: measured, with a speedup of 1.5 before and after each of its neighbours.
"""

import torch

PRODUCTS = 40


class ProductsPipeline:
    name_or_path = "rogues/gpu"

    def __init__(self):
        self.matrix = torch.randn(8192, 8192, device="cuda", dtype=torch.float16) / 8192**0.5

    def __call__(self, prompt, generator, output_type):
        product = self.matrix
        for _ in range(PRODUCTS):
            product = self.matrix @ product
        return torch.stack([torch.rand(3, 64, 64, generator=one) for one in generator])


def load_pipe():
    return ProductsPipeline()
