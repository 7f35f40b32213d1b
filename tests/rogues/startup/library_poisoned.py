"""Opens the files that other children run for writing: the pipeline, torch, the program itself."""

import contextlib
import json

import torch
import toyfusion
from toyfusion import ToyPipeline

import actors.protocol

for module in (toyfusion, torch, json, actors.protocol):
    with contextlib.suppress(OSError):
        open(module.__file__, "a").close()
        raise SystemExit(f"{module.__file__} can be written to")


def load_pipe():
    return ToyPipeline()
