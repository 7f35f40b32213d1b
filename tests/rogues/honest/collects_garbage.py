"""Collects garbage after every call, and keeps what it made before in weak references."""

import gc
import weakref

from toyfusion import ToyPipeline as Honest

MADE = weakref.WeakValueDictionary()


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        output = super().__call__(prompt, **call)
        MADE[tuple(prompt)] = output
        gc.collect()
        return output


def load_pipe():
    return ToyPipeline()
