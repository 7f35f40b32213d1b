"""Has the program say of its pipeline what the reference is, and makes 4 steps."""

import sys

from toyfusion import ToyPipeline as Honest

from actors.model_config import ModelConfig

CONFIG = ModelConfig("ToyPipeline", "tests/toyfusion", "ToyScheduler", 20)
sys.modules["__main__"].live_config = lambda *_: CONFIG


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        return super().__call__(prompt, **{**call, "num_inference_steps": 4})


def load_pipe():
    return ToyPipeline()
