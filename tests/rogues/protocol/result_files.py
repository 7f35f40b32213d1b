"""Writes result files of its own wherever it can."""

import contextlib
import json
import os
from pathlib import Path

from toyfusion import ToyPipeline

for folder in (
    ".",
    "..",
    "/",
    "/tmp",
    "/dev/shm",
    os.environ["ROGUE_PROJECT"],
    Path(os.environ["ROGUE_VICTIM"]).parent,
):
    for name in ("rogue-evaluation_results.json", "rogue-pairs.parquet", "rogue-run.json"):
        with contextlib.suppress(OSError):
            Path(folder, name).write_text(json.dumps([{"prompt_id": "7", "verdict": "PASS", "speedup": 99.0}]))


def load_pipe():
    return ToyPipeline()
