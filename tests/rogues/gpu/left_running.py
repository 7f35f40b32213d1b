"""Tries to leave a kernel on the GPU that outlives its process: starts one that runs for years, and ends itself.

Must become: exited, and the kernel ends with its process; or timeout, where the process cannot end before its kernel.
"""

import os

import torch


class ProductsPipeline:
    name_or_path = "rogues/gpu"

    def __call__(self, prompt, generator, output_type):
        torch.cuda._sleep(2**62)
        os._exit(7)


def load_pipe():
    return ProductsPipeline()
