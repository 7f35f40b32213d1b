"""Keeps a pool of threads from call to call, which make an image each and wait in between."""

from concurrent.futures import ThreadPoolExecutor

import torch
from toyfusion import ToyPipeline as Honest

THREADS = ThreadPoolExecutor(2)


class ToyPipeline(Honest):
    def __call__(self, prompt, generator, **call):
        one = lambda text, seed: Honest.__call__(self, [text], [seed], **call).images
        return torch.cat(list(THREADS.map(one, prompt, generator)))


def load_pipe():
    return ToyPipeline()
