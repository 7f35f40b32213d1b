"""A global `pipe` instead of `load_pipe`."""

from toyfusion import ToyPipeline

pipe = ToyPipeline()
