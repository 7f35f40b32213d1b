"""Replays the images of its first call for ever."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    kept = None

    def __call__(self, prompt, **call):
        if self.kept is None:
            self.kept = super().__call__(prompt, **call).images
        return self.kept


def load_pipe():
    return ToyPipeline()
