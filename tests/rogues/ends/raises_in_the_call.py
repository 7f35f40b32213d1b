"""Fails in its call."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        raise RuntimeError("no luck")


def load_pipe():
    return ToyPipeline()
