"""Watches by inotify who opens a library, in whatever sandbox."""

import ctypes
import os

import torch
from toyfusion import ToyPipeline

IN_OPEN = 0x20

libc = ctypes.CDLL(None)
watch = libc.inotify_init1(os.O_NONBLOCK)
if watch >= 0 and libc.inotify_add_watch(watch, torch.__file__.encode(), IN_OPEN) >= 0:
    raise SystemExit("it hears of who opens the library")


def load_pipe():
    return ToyPipeline()
