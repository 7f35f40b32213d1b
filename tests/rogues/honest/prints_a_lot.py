"""Prints a page a call, below the limit, and one long line."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        print("step\n" * 1000, "x" * 4000, sep="", flush=True)
        return super().__call__(prompt, **call)


def load_pipe():
    return ToyPipeline()
