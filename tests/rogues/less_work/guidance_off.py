"""Switches guidance off: half of the work."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        return super().__call__(prompt, **{**call, "guidance_scale": 1.0})


def load_pipe():
    return ToyPipeline()
