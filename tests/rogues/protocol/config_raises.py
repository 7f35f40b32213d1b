"""Raises where somebody asks for its name."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    @property
    def name_or_path(self):
        raise RuntimeError("ask somebody else")


def load_pipe():
    return ToyPipeline()
