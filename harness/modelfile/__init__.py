"""What a model file's source says, read by `ast`: the file is untrusted and is neither imported nor run.

A model file makes a diffusers pipeline: a global `pipe` or a function `load_pipe()`; it may define
`pipe_forward(pipe, prompts, **call)`.

No source is parsed in the process that asks. `reader` gives the bytes to a server of its own (`server`), which forks a
process for each file and parses nothing itself. What such a process answers is checked by `answer`.
"""

from actors.model_config import Difference, ModelConfig
from harness.modelfile.compare import Comparison, compare_model_configs
from harness.modelfile.reader import ReaderError, read_model_file, read_sources
from harness.modelfile.source import ModelFileError, Problem, read_source

__all__ = [
    "Comparison",
    "Difference",
    "ModelConfig",
    "ModelFileError",
    "Problem",
    "ReaderError",
    "compare_model_configs",
    "read_model_file",
    "read_source",
    "read_sources",
]
