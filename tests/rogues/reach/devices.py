"""Opens the machine's disks and memory."""

import contextlib
import os

from toyfusion import ToyPipeline

for name in ("/dev/mem", "/dev/kmsg", "/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/kvm", "/dev/fuse", "/dev/net/tun"):
    with contextlib.suppress(OSError):
        os.close(os.open(name, os.O_RDONLY))
        raise SystemExit(f"{name} can be opened")


def load_pipe():
    return ToyPipeline()
