"""Returns an array with its channels first."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        images = super().__call__(prompt, **call).images
        return images.numpy()


def load_pipe():
    return ToyPipeline()
