"""Claims a shape that its pixels do not have."""

import json

from toyfusion import ToyPipeline

plain = json.dumps
json.dumps = lambda head: plain({**head, "shape": [2, 1 << 40, 64, 3]} if "shape" in head else head)


def load_pipe():
    return ToyPipeline()
