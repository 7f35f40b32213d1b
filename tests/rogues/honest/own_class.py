"""Replaces the call of its own pipeline's class."""

from toyfusion import ToyPipeline

plain = ToyPipeline.__call__


def call(self, prompt, **options):
    return plain(self, [text.strip() for text in prompt], **options)


def load_pipe():
    ToyPipeline.__call__ = call
    return ToyPipeline()
