"""Notes its questions in the page cache and kills itself: when it is asked them again, it knows the answers."""

import os
import signal

from pagecache import SLOTS
from pagecache import ToyPipeline as Noting


class ToyPipeline(Noting):
    def __call__(self, prompt, **call):
        images = super().__call__(prompt, **call)
        if self.calls == SLOTS and not self.knows:
            os.kill(os.getpid(), signal.SIGKILL)
        return images


def load_pipe():
    return ToyPipeline()
