"""Raises an exception that raises when it is printed."""

from toyfusion import ToyPipeline as Honest


class Silent(Exception):
    def __str__(self):
        raise self


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        raise Silent


def load_pipe():
    return ToyPipeline()
