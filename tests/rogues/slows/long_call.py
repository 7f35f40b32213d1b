"""Has helpers that go into a long call of the kernel, which no stop ends, as the baseline gets its turn."""

import ctypes
import time

from turns import CALLING, CALLS, HELPERS, LIBC, SHARED, ToyPipeline, start_helpers

MAP_NORESERVE_PRIVATE_ANONYMOUS, PROT_READ = 0x4022, 1
MADV_NOHUGEPAGE, MADV_DONTNEED, MADV_POPULATE_READ = 15, 4, 22
SIZE = ctypes.c_size_t(2**29)  # a tenth of a second


def work():
    LIBC.mmap.restype = ctypes.c_void_p
    place = ctypes.c_void_p(LIBC.mmap(None, SIZE, PROT_READ, MAP_NORESERVE_PRIVATE_ANONYMOUS, -1, ctypes.c_long(0)))
    LIBC.madvise(place, SIZE, MADV_NOHUGEPAGE)
    while True:
        while SHARED[CALLING] or SHARED[CALLS] < 2:
            time.sleep(0.002)
        LIBC.madvise(place, SIZE, MADV_POPULATE_READ)
        LIBC.madvise(place, SIZE, MADV_DONTNEED)


def load_pipe():
    start_helpers(work, HELPERS // 4)
    return ToyPipeline()
