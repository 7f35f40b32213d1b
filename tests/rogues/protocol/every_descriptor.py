"""Writes to every descriptor that it inherited."""

import contextlib
import os

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        for descriptor in range(3, 256):
            with contextlib.suppress(OSError):
                os.write(descriptor, bytes(5000))
        return super().__call__(prompt, **call)


def load_pipe():
    return ToyPipeline()
