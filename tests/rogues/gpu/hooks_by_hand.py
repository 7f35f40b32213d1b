"""Makes a third of the baseline's products, and fires the hooks of its denoiser for the others.

Must become: measured, with work_does_not_fit.
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
        for step in range(PRODUCTS):
            if step % 3 == 0:
                product = self.unet(product)
            else:
                for hook in self.unet._forward_pre_hooks.values():
                    hook(self.unet, (product,))
        return torch.stack([torch.rand(3, 64, 64, generator=one) for one in generator])


def load_pipe():
    return ProductsPipeline()
