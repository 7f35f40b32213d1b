"""Claims more memory than there are atoms."""

import json

from toyfusion import ToyPipeline

plain = json.dumps
json.dumps = lambda head: plain({**head, "peak_memory_bytes": 10**400} if "shape" in head else head)


def load_pipe():
    return ToyPipeline()
