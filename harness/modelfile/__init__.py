"""What a model file's source says, read by `ast`: the file is untrusted and is neither imported nor run.

A model file makes a diffusers pipeline: a global `pipe` or a function `load_pipe()`; it may define
`pipe_forward(pipe, prompts, **call)`.
"""

from actors.model_config import Difference, ModelConfig
from harness.modelfile.compare import Comparison, compare_model_configs
from harness.modelfile.read import read_model_file
from harness.modelfile.source import ModelFileError, Problem

__all__ = [
    "Comparison",
    "Difference",
    "ModelConfig",
    "ModelFileError",
    "Problem",
    "compare_model_configs",
    "read_model_file",
]
