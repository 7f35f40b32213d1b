"""Tries to take all of the GPU's memory in its first call.

Must become: out_of_memory, beside the baseline and alone.
"""

import torch


class ProductsPipeline:
    name_or_path = "rogues/gpu"

    def __call__(self, prompt, generator, output_type):
        taken = []
        while True:
            taken.append(torch.empty(2**30, dtype=torch.uint8, device="cuda"))


def load_pipe():
    return ProductsPipeline()
