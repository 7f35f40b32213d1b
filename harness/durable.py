"""Writing files so that a kill at any moment leaves the old content or the new, and nothing in between."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

ASIDE = ".aside-"  # prefix of what is being written, or about to be removed


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` fill a file beside `path`, and put that in its place."""
    aside = path.with_name(f"{ASIDE}{path.name}")
    write(aside)
    sync(aside)
    aside.replace(path)
    sync(path.parent)


def replace_json(path: Path, value: object) -> None:
    """Write `value`, made of plain JSON values, to `path`. Raises ValueError for NaN, which JSON has not."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    replace_file(path, lambda aside: aside.write_bytes(text.encode("utf-8", "backslashreplace")))


def sync(path: Path) -> None:
    """Wait until the disk holds what was written to a file, or which names a folder has."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
