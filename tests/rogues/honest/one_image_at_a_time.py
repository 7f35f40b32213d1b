"""Makes one image after the other: twice the calls of the U-Net, on half of the batch."""

import torch
from toyfusion import Output
from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, generator, **call):
        pairs = zip(prompt, generator)
        return Output(torch.cat([super(ToyPipeline, self).__call__([text], [one], **call).images for text, one in pairs]))


def load_pipe():
    return ToyPipeline()
