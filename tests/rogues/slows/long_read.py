"""Has helpers that read a gigabyte of nothing in one call, which no stop ends, as the baseline gets its turn."""

import os
import time

from turns import CALLING, CALLS, HELPERS, SHARED, ToyPipeline, start_helpers

SIZE = 2**30


def work():
    file = os.memfd_create("nothing")
    os.ftruncate(file, SIZE)
    room = [bytearray(SIZE // 1024)] * 1024
    while True:
        while SHARED[CALLING] or SHARED[CALLS] < 2:
            time.sleep(0.002)
        os.preadv(file, room, 0)


def load_pipe():
    start_helpers(work, HELPERS // 4)
    return ToyPipeline()
