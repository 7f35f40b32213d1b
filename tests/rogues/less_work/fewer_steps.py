"""Makes 4 steps of the 20, and hides it until it is called."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        return super().__call__(prompt, **{**call, "num_inference_steps": 4})


def load_pipe():
    return ToyPipeline()
