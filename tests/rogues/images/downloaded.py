"""Fetches its pictures from a server."""

import os
from urllib.request import urlopen

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        return urlopen(f"http://127.0.0.1:{os.environ['ROGUE_TCP']}/picture", timeout=2).read()


def load_pipe():
    return ToyPipeline()
