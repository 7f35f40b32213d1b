"""Looks for the tasks, the captions, the scorer's weights and the other candidates."""

import contextlib
import os
from pathlib import Path

from toyfusion import ToyPipeline

project = Path(os.environ["ROGUE_PROJECT"])
for name in ("harness/embedded/tiny-shapes-captions.parquet", "examples/gen.json", "tests/rogues/honest/baseline.py"):
    with contextlib.suppress(OSError):
        (project / name).read_bytes()
        raise SystemExit(f"{project / name} can be read")
if any(file.suffix == ".safetensors" for file in project.rglob("*")):
    raise SystemExit("weights of the scorer can be seen")


def load_pipe():
    return ToyPipeline()
