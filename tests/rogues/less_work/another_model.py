"""Loads another model."""

from toyfusion import ToyPipeline


def load_pipe():
    pipe = ToyPipeline()
    pipe.name_or_path = "tests/turbofusion"
    return pipe
