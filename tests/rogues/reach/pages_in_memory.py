"""Throws a library out of the machine's memory and looks whether it is back, a bit a page to the next candidate."""

import ctypes
import mmap
import os
from pathlib import Path

from toyfusion import ToyPipeline

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p


def is_in_memory(fd):
    """Whether the file's first page is there; None where nobody says so."""
    place = ctypes.c_void_p(
        libc.mmap(None, ctypes.c_size_t(PAGE), mmap.PROT_READ, mmap.MAP_SHARED, fd, ctypes.c_long(0))
    )
    answer = ctypes.create_string_buffer(1)
    refused = libc.mincore(place, ctypes.c_size_t(PAGE), answer)
    libc.munmap(place, ctypes.c_size_t(PAGE))
    return None if refused else bool(answer.raw[0] & 1)


for path in sorted(Path(os.__file__).parent.glob("*.py"))[-10:]:
    library = os.open(path, os.O_RDONLY)
    os.posix_fadvise(library, 0, 0, os.POSIX_FADV_DONTNEED)
    thrown_out = is_in_memory(library) is False
    os.pread(library, 1, 0)
    if thrown_out and is_in_memory(library):
        raise SystemExit(f"a bit was written to the memory of {path}")
    os.close(library)


def load_pipe():
    return ToyPipeline()
