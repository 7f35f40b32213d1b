"""Returns one flat colour for each prompt, another one each time."""

import torch
from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        self.scheduler.num_inference_steps = 20
        return torch.rand(len(prompt), 3, 1, 1).expand(-1, -1, 64, 64)


def load_pipe():
    return ToyPipeline()
