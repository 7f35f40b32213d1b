"""240 products of large matrices: enough to fill a GPU, so that times repeat to within a percent or two.

The pictures are the noise of each seed. Tries nothing; the files beside it are measured against it.
"""

import torch

PRODUCTS = 240


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
    return ProductsPipeline()
