"""Returns a tensor of 64-bit integers in 0..255, of which all but black is white."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        images = super().__call__(prompt, **call).images
        return (images * 255).long()


def load_pipe():
    return ToyPipeline()
