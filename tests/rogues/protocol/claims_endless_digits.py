"""Claims a count of so many digits that reading them takes long."""

import json

from toyfusion import ToyPipeline

plain = json.dumps
json.dumps = lambda head: plain(head).replace('"alloc_retries": 0', '"alloc_retries": ' + "9" * 900_000)


def load_pipe():
    return ToyPipeline()
