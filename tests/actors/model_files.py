"""Small model files for tests: a pipeline that draws grey squares, variations of it that misbehave, a plan for both."""

from textwrap import indent
from typing import Any

from actors.messages import ModelFile, Plan

HONEST = """
import torch

class GreyPipeline:
    name_or_path = "tests/grey"
    def __call__(self, prompt, generator, output_type, brightness=0.5, **call):
        return torch.stack([torch.full((3, 16, 16), brightness) for _ in prompt])

def load_pipe():
    return GreyPipeline()
"""


def honest_but(call: str = "", load: str = "", top: str = "") -> str:
    """The honest file with statements put before its call's, its loading's or its own first line."""

    source = HONEST.replace("        return torch.stack", indent(call, 8 * " ") + "\n        return torch.stack")
    source = source.replace("    return GreyPipeline()", indent(load, 4 * " ") + "\n    return GreyPipeline()")
    return top + "\n" + source


def model_file(source: str, **call: object) -> ModelFile:
    """A model file that lies nowhere on the disk."""
    return ModelFile("/nowhere/candidate.py", source.encode(), call)


def plan(**changes: Any) -> Plan:
    """A plan of one warm-up call at least that measures all of its batches, with other values for some fields."""
    plain = {
        "key": "tests",
        "batch_size": 2,
        "warmup_at_least": 1,
        "warmup_at_most": 1,
        "warmup_agreement": 0.1,
        "burn_in": 0,
        "batches": 2,
        "starts": 1,
        "stretches": 0,
        "repeats": 0,
        "profile": False,
        "stop": never,
    }
    return Plan(**{**plain, **changes})


CAPTIONS = tuple(
    (f"a {colour} {shape}",) for colour in ("red", "blue", "green") for shape in ("circle", "star", "ring")
)


def never(measured: object) -> None:
    """A stopping rule that does not stop."""
