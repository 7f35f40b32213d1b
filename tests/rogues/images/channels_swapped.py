"""Returns blue for red."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        images = super().__call__(prompt, **call).images
        return images.flip(1)


def load_pipe():
    return ToyPipeline()
