"""Has the program turn whatever the pipeline returns into black pixels."""

import numpy
from toyfusion import ToyPipeline

import actors.pixels

actors.pixels.to_pixels = lambda output: numpy.zeros((2, 64, 64, 3), numpy.uint8)


def load_pipe():
    return ToyPipeline()
