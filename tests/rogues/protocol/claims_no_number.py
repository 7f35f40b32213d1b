"""Claims a time that is not a number."""

import json

from toyfusion import ToyPipeline

plain = json.dumps
json.dumps = lambda head: plain({**head, "device_s": float("nan")} if "shape" in head else head)


def load_pipe():
    return ToyPipeline()
