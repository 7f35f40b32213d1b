"""Returns images so large that nobody wants to hold them."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        images = super().__call__(prompt, **call).images
        return images.repeat(1, 1, 16, 16)


def load_pipe():
    return ToyPipeline()
