"""Returns a tuple with an array of floats, channels last."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        images = super().__call__(prompt, **call).images
        return (images.permute(0, 2, 3, 1).numpy(), [False] * len(prompt))


def load_pipe():
    return ToyPipeline()
