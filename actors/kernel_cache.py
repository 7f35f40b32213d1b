"""What CUDA's driver and libraries compiled in one child, brought to another one that will need the same.

A fresh process compiles the attention kernels of its pipeline in its first call: 3 s for Stable Diffusion 1.5. A folder
that children share would bring what one candidate left there to the next. So a warm baseline is asked for its folder,
as bytes that the supervisor does not look into, and a candidate's child gets a copy before it has seen a model file.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import tempfile
from pathlib import Path

MOST_BYTES = 1 << 26  # of an archive


def folder() -> Path:
    """Where CUDA keeps what it compiles in this process."""
    return Path(os.environ["CUDA_CACHE_PATH"])


def files_below(root: Path) -> list[Path]:
    """Every file in a folder and the folders in it; none where it is not there."""
    return [path for path in root.rglob("*") if path.is_file()]


def pack() -> bytes:
    """The files of the folder as an archive; none where there are none, or more than MOST_BYTES of them."""
    data, root = io.BytesIO(), folder()
    files = files_below(root)
    size = sum(path.stat().st_size for path in files)
    if not files or size > MOST_BYTES // 2:  # an archive is larger than what it holds
        return b""
    with tarfile.open(fileobj=data, mode="w") as archive:
        for path in files:
            archive.add(path, path.relative_to(root))
    return data.getvalue()


def unpack(packed: bytes) -> None:
    """Puts the files of an archive into the folder. What cannot be read is left out: without it, all goes on slower."""
    root = folder()
    root.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError, tarfile.TarError), tempfile.TemporaryDirectory(dir=root.parent) as beside:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(beside, filter="data")
        # The driver may have a file of this name open, and mapped.
        for path in files_below(Path(beside)):
            target = root / path.relative_to(beside)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
