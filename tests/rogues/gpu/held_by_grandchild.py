"""Tries to hold 8 GiB of the GPU after its end, in a process with a session of its own that has left the family.

Must become: load_error, or timeout in the tier landlock, where that process gets no CUDA. In a sandbox
that ends everything which a candidate started, the memory is back at once; in one that does not, the actor waits for
it: the holder ends by itself 20 s later.
"""

import subprocess
import sys
import time
from pathlib import Path

HOLDER = """
import pathlib, time, torch
held = torch.empty(8 * 2**30, dtype=torch.uint8, device="cuda")
pathlib.Path("holds").touch()
time.sleep(20)
"""


class ProductsPipeline:
    name_or_path = "rogues/gpu"


def load_pipe():
    shell = 'setsid "$0" -c "$1" </dev/null >/dev/null 2>&1 &'
    subprocess.run(["sh", "-c", shell, sys.executable, HOLDER], check=True)
    while not Path("holds").exists():
        time.sleep(0.1)
    raise RuntimeError("the memory is held by another process now")
