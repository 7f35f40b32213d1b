"""The pipeline itself: the baseline of every pair here."""

from toyfusion import ToyPipeline


def load_pipe():
    return ToyPipeline()
