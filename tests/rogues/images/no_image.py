"""Returns a praise of its images."""

from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        self.scheduler.num_inference_steps = 20
        return f"two lovely pictures of {prompt}"


def load_pipe():
    return ToyPipeline()
