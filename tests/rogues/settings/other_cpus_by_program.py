"""Has the program taskset move it to all CPUs, and start what looks where it runs."""

import contextlib
import os
import subprocess
import sys

from toyfusion import ToyPipeline

LOOKS = "import os; print(sorted(os.sched_getaffinity(0)))"

given = os.sched_getaffinity(0)
everywhere = f"0-{os.cpu_count() - 1}"
with contextlib.suppress(FileNotFoundError):
    subprocess.run(["taskset", "--all-tasks", "--cpu-list", "--pid", everywhere, str(os.getpid())], capture_output=True)
    started = subprocess.run(
        ["taskset", "--cpu-list", everywhere, sys.executable, "-S", "-c", LOOKS], capture_output=True, text=True
    )
    if os.sched_getaffinity(0) != given or started.stdout.strip() != str(sorted(given)):
        raise SystemExit(f"it was put on {given}; it has {os.sched_getaffinity(0)}, what it started {started.stdout}")


def load_pipe():
    return ToyPipeline()
