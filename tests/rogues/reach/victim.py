"""Reads, overwrites and deletes a file of the run."""

import contextlib
import os
from pathlib import Path

from toyfusion import ToyPipeline

victim = Path(os.environ["ROGUE_VICTIM"])
with contextlib.suppress(OSError):
    victim.chmod(0o777)
    raise SystemExit("the victim's mode was changed")
with contextlib.suppress(OSError):
    victim.write_text("rogue")
    raise SystemExit("the victim was overwritten")
with contextlib.suppress(OSError):
    victim.unlink()


def load_pipe():
    return ToyPipeline()
