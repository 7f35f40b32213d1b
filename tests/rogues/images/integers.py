"""Returns an array of 64-bit integers."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        images = super().__call__(prompt, **call).images
        return (images * 255).long().permute(0, 2, 3, 1).numpy()


def load_pipe():
    return ToyPipeline()
