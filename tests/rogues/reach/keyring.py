"""Leaves a key in the kernel's keyring, for the next candidate to read."""

import ctypes
import os

from toyfusion import ToyPipeline

ADD_KEY = {"x86_64": 248, "aarch64": 217}
USER_KEYRING = -4  # linux/keyctl.h

ctypes.CDLL(None).syscall(ADD_KEY[os.uname().machine], b"user", b"rogue", b"note", 4, USER_KEYRING)


def load_pipe():
    return ToyPipeline()
