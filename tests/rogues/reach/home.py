"""Reads the homes of this machine: keys, tokens, histories."""

import contextlib
import os
from pathlib import Path

from toyfusion import ToyPipeline

WANTED = (".ssh", ".netrc", ".aws", ".kube", ".bash_history", ".cache/huggingface/token", ".git-credentials")

for home in {Path(os.path.expanduser("~root")), *Path("/home").glob("*"), Path.home()}:
    with contextlib.suppress(OSError):
        seen = [name for name in WANTED if (home / name).exists()]
        if seen:
            raise SystemExit(f"{home} has {seen}")


def load_pipe():
    return ToyPipeline()
