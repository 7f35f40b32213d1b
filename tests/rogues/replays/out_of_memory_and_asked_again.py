"""Notes its questions in the page cache and says that memory ran out: measured in blocks, it knows the answers."""

import torch
from pagecache import SLOTS
from pagecache import ToyPipeline as Noting


class ToyPipeline(Noting):
    def __call__(self, prompt, **call):
        images = super().__call__(prompt, **call)
        if self.calls == SLOTS and not self.knows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return images


def load_pipe():
    return ToyPipeline()
