"""Raises an exception of fifty million letters."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        raise RuntimeError("a" * 50_000_000)


def load_pipe():
    return ToyPipeline()
