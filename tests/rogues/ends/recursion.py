"""Calls itself for ever."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        return self(prompt, **call)


def load_pipe():
    return ToyPipeline()
