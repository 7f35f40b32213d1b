"""Opens the kernel's settings and control groups for writing."""

import contextlib
import glob

from toyfusion import ToyPipeline

NAMES = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sysrq-trigger",
    "/sys/kernel/uevent_helper",
    "/proc/sys/vm/drop_caches",
)

for name in (*NAMES, *glob.glob("/sys/fs/cgroup/**/cgroup.procs", recursive=True)[:50]):
    with contextlib.suppress(OSError):
        open(name, "r+").close()
        raise SystemExit(f"{name} can be written to")


def load_pipe():
    return ToyPipeline()
