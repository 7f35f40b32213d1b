"""Tries to take all of the GPU's memory while its pipeline is made.

Must become: out_of_memory, beside the baseline and alone.
"""

import torch


class ProductsPipeline:
    name_or_path = "rogues/gpu"


def load_pipe():
    taken = []
    while True:
        taken.append(torch.empty(2**30, dtype=torch.uint8, device="cuda"))
