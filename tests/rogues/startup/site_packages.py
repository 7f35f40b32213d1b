"""Leaves a sitecustomize and a .pth file in every folder of packages, for the next child to run."""

import contextlib
import sys
from pathlib import Path

from toyfusion import ToyPipeline, boxed

for folder in sys.path if boxed() else ():
    for name in ("sitecustomize.py", "usercustomize.py", "rogue.pth"):
        with contextlib.suppress(OSError):
            Path(folder, name).write_text("# rogue\n")
            raise SystemExit(f"{folder} can be written to")


def load_pipe():
    return ToyPipeline()
