"""Returns an array of Python objects."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        images = super().__call__(prompt, **call).images
        return images.permute(0, 2, 3, 1).numpy().astype(object)


def load_pipe():
    return ToyPipeline()
