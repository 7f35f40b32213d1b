"""Leaves timers behind that fire in the baseline's turn, each of which wakes hundreds of waiting lists."""

import ctypes
import os
import select

from toyfusion import ToyPipeline as Honest

LIBC = ctypes.CDLL(None)
EPOLLS, TIMERS, HELPERS = 250, 200, 2
AFTER_NS, EVERY_NS = 12_000_000, 400_000
OFF = (ctypes.c_long * 4)(0, 0, 0, 0)
PIPES = []


def serve(pipe):
    timers = [LIBC.timerfd_create(1, 0) for _ in range(TIMERS)]
    polls = [select.epoll() for _ in range(EPOLLS)]
    for poll in polls:
        for timer in timers:
            poll.register(timer, select.EPOLLIN)
    later = [(ctypes.c_long * 4)(0, 0, 0, AFTER_NS + EVERY_NS * place) for place in range(TIMERS)]
    while True:
        go = os.read(pipe, 1) == b"1"
        for timer, when in zip(timers, later, strict=True):
            LIBC.timerfd_settime(timer, 0, when if go else OFF, None)


class ToyPipeline(Honest):
    def __call__(self, *request, **call):
        for pipe in PIPES:
            os.write(pipe, b"0")
        try:
            return super().__call__(*request, **call)
        finally:
            for pipe in PIPES:
                os.write(pipe, b"1")


def load_pipe():
    for _ in range(HELPERS):
        read, write = os.pipe()
        if os.fork() == 0:
            os.setsid()
            serve(read)
        PIPES.append(write)
    return ToyPipeline()
