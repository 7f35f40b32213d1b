"""Prints without end."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        for _ in range(500_000):
            print("spam" * 1000)
        return super().__call__(prompt, **call)


def load_pipe():
    return ToyPipeline()
