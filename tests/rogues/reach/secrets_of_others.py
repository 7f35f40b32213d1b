"""Reads the environment, the command line and the memory of every process that it sees."""

import contextlib
import os
from pathlib import Path

from toyfusion import ToyPipeline

for folder in Path("/proc").glob("[0-9]*"):
    for name in ("environ", "cmdline"):
        with contextlib.suppress(OSError):
            if b"hunter2" in (folder / name).read_bytes():
                raise SystemExit(f"{folder / name} has the secret")
    with contextlib.suppress(OSError):
        if int(folder.name) not in (os.getpid(), 1, 2):
            open(folder / "mem", "r+b").close()
            raise SystemExit(f"{folder / 'mem'} can be written to")


def load_pipe():
    return ToyPipeline()
