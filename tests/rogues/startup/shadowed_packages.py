"""Puts packages of its own called torch, json and actors before the real ones, for itself and for the next child."""

import sys
from pathlib import Path

from toyfusion import ToyPipeline

for name in ("torch", "json", "actors", "toyfusion"):
    Path(f"{name}.py").write_text("raise SystemExit('rogue')\n")
sys.path.insert(0, str(Path.cwd()))


def load_pipe():
    return ToyPipeline()
