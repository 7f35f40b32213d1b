"""Fails at its import."""

from toyfusion import ToyPipeline

1 / 0


def load_pipe():
    return ToyPipeline()
