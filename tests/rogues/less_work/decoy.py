"""Makes 8 of 20 steps with a hidden denoiser, and shows another one that is called 20 times and does nothing."""

from torch import nn
from toyfusion import ToyPipeline as Honest
from toyfusion import ToyUnet


class Decoy(nn.Module):
    dtype = ToyUnet().dtype

    def forward(self):
        return None


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        decoy, self.unet = self.unet, self.hidden[0]
        images = super().__call__(prompt, **{**call, "num_inference_steps": 8})
        self.unet = decoy
        for _ in range(20):
            self.unet()
        self.scheduler.num_inference_steps = 20
        return images


def load_pipe():
    pipe = ToyPipeline(Decoy())
    pipe.hidden = [ToyUnet()]  # in a list, where no module is looked for
    return pipe
