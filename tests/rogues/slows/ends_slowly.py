"""Has helpers that end as the baseline gets its turn, with page tables that take the kernel long to take down."""

import ctypes
import os
import time

from turns import CALLING, CALLS, LIBC, SHARED, ToyPipeline, start_helpers

MAP_NORESERVE_PRIVATE_ANONYMOUS, PROT_READ_WRITE = 0x4022, 3
MADV_NOHUGEPAGE, MADV_POPULATE_READ = 15, 22
SIZE = ctypes.c_size_t(2**33)  # a tenth of a second, for page tables of 16 MB
TURNS, AT_ONCE = 6, 4


def end_after(calls):
    while SHARED[CALLS] < calls or SHARED[CALLING]:
        time.sleep(0.01)
    os._exit(0)


def load_pipe():
    LIBC.mmap.restype = ctypes.c_void_p
    place = LIBC.mmap(None, SIZE, PROT_READ_WRITE, MAP_NORESERVE_PRIVATE_ANONYMOUS, -1, ctypes.c_long(0))
    LIBC.madvise(ctypes.c_void_p(place), SIZE, MADV_NOHUGEPAGE)
    LIBC.madvise(ctypes.c_void_p(place), SIZE, MADV_POPULATE_READ)
    ctypes.memset(place, 1, 1)  # else a fork leaves the page tables out
    for calls in range(2, 2 + TURNS):
        start_helpers(lambda: end_after(calls), AT_ONCE)
    LIBC.munmap(ctypes.c_void_p(place), SIZE)
    return ToyPipeline()
