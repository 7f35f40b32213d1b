"""Answers every question twice."""

import gc

from toyfusion import ToyPipeline

for kind in [one for one in gc.get_objects() if isinstance(one, type) and one.__name__ == "Channel"]:
    plain = kind.send
    kind.send = lambda self, *frame, plain=plain: (plain(self, *frame), plain(self, *frame))


def load_pipe():
    return ToyPipeline()
