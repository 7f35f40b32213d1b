"""Returns an empty list."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        self.scheduler.num_inference_steps = 20
        return []


def load_pipe():
    return ToyPipeline()
