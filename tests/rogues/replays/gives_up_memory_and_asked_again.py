"""Notes its questions in the page cache and counts a retry of the allocator: asked again in blocks, it knows them."""

import torch
from pagecache import ToyPipeline as Noting

CALLS = 4  # its warm-up and two in turns


class ToyPipeline(Noting):
    def __call__(self, prompt, **call):
        images = super().__call__(prompt, **call)
        if self.calls == CALLS and not self.knows:
            torch.cuda.is_available = lambda: True
            torch.cuda.synchronize = torch.cuda.max_memory_allocated = lambda: 0
            torch.cuda.memory_stats = lambda: {"num_alloc_retries": 1}
        return images


def load_pipe():
    return ToyPipeline()
