"""Returns images of half the size."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        images = super().__call__(prompt, **call).images
        return images[:, :, ::2, ::2]


def load_pipe():
    return ToyPipeline()
