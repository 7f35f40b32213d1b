"""Hangs in a timed call."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    calls = 0

    def __call__(self, prompt, **call):
        self.calls += 1
        while self.calls > 3:
            pass
        return super().__call__(prompt, **call)


def load_pipe():
    return ToyPipeline()
