"""Makes one image after the other: twice the calls of the U-Net, on half of the batch."""

import torch
from toyfusion import Output
from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, generator, **call):
        one = lambda text, seed: Honest.__call__(self, [text], [seed], **call).images
        return Output(torch.cat(list(map(one, prompt, generator))))


def load_pipe():
    return ToyPipeline()
