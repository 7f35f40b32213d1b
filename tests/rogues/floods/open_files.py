"""Opens files for ever."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        opened = [open("/dev/null") for _ in range(100_000)]
        return super().__call__(prompt, **call), opened


def load_pipe():
    return ToyPipeline()
