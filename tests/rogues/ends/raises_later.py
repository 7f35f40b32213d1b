"""Fails in its fourth call, when it is being timed."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    calls = 0

    def __call__(self, prompt, **call):
        self.calls += 1
        if self.calls == 4:
            raise RuntimeError("no luck in call 4")
        return super().__call__(prompt, **call)


def load_pipe():
    return ToyPipeline()
