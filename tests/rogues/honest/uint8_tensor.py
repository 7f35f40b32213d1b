"""Returns a uint8 tensor."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        return (super().__call__(prompt, **call).images * 255).round().byte()


def load_pipe():
    return ToyPipeline()
