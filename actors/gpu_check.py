"""A small computation with a known result on the one visible GPU, in a fresh process: does it still compute right?

    CUDA_VISIBLE_DEVICES=GPU-... python -m actors.gpu_check

It prints SOUND as its last line, or what is wrong, and ends with 1 then. It is trusted, runs no model file, and needs
about 1 GiB of the GPU's memory, its CUDA context included.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import torch

SOUND = "the GPU computes right"
SIZE = 512  # of the square matrices
COPIED = 2**24  # numbers of four bytes that are copied there and back

CHECK_S = 120.0  # torch from a cold disk, a CUDA context, the computation
END_S = 10.0  # for a killed process to be gone; one that waits in the driver may never be
ROOT = Path(__file__).resolve().parents[1]


def check_gpu(uuid: str) -> str:
    """Runs `actors.gpu_check` on a GPU: what is wrong with it, or ""."""
    paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": uuid,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONSAFEPATH": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "actors.gpu_check"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        encoding="utf-8",
        errors="replace",
    )
    try:
        said, _ = process.communicate(timeout=CHECK_S)
    except subprocess.TimeoutExpired:
        process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=END_S)
        return f"a small computation in a fresh process did not end within {CHECK_S:g} s"
    last = (said.strip().splitlines() or ["it said nothing"])[-1]
    if process.returncode == 0 and last == SOUND:
        return ""
    return f"a small computation in a fresh process failed with code {process.returncode}: {last[:500]}"


def find_fault(device: str) -> str:
    """What a torch device computes or copies wrongly, as a line; empty where all is right.

    The matrices hold -1, 0 and 1, so every sum is a whole number of at most SIZE, which float16, TF32 and float32
    all hold: a right result is right to the last bit, on every GPU and in every order of adding. Raises RuntimeError
    where the device cannot be used at all.
    """
    numbers = torch.arange(SIZE * SIZE).reshape(SIZE, SIZE)
    left, right = (numbers * 7 % 3 - 1).double(), (numbers * numbers % 5 % 3 - 1).double()
    known = left @ right
    for dtype in (torch.float32, torch.float16):
        product = left.to(device, dtype) @ right.to(device, dtype)
        wrong = int((product.cpu().double() != known).sum())
        if wrong:
            return f"{wrong} of {SIZE * SIZE} numbers of a product of matrices in {dtype} are wrong"
    there = torch.arange(COPIED, dtype=torch.int32)
    wrong = int((there.to(device).cpu() != there).sum())
    return f"{wrong} of {COPIED} numbers came back changed" if wrong else ""


def main() -> None:
    """Prints what it found."""
    if not torch.cuda.is_available():
        sys.exit(f"torch {torch.__version__} sees no GPU that it can use")
    try:
        fault = find_fault("cuda")
    except RuntimeError as error:  # a CUDA error, or no memory
        fault = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    if fault:
        sys.exit(fault)
    print(SOUND)


if __name__ == "__main__":
    main()
