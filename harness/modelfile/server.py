"""The server that has sources read: it forks a process for each, holds it to its limits, and passes on what it says.

Started by `harness.modelfile.reader`, in an interpreter of its own that has imported the parser and little else. It
parses neither a source nor an answer, and ends when the other end of its pipe is closed. Requests come on its
standard input, answers go to its standard output, as frames of `actors.protocol`.
"""

import contextlib
import ctypes
import encodings
import gc
import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import sys
import time
import unicodedata  # noqa: F401  (names that are not ASCII: a fork can open no file, and so import nothing)
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from actors import landlock, seccomp
from actors.confine import drop_capabilities
from actors.protocol import PREFIX, Channel, ChannelClosed
from harness.modelfile.answer import MAX_ANSWER_BYTES, answer
from harness.modelfile.source import MAX_BYTES, ReadingLimits

REQUESTS, ANSWERS, ERRORS = 0, 1, 2  # descriptors
MOST_DESCRIPTORS = 256
PR_SET_PDEATHSIG = 1  # linux/prctl.h
READ_BYTES = 1 << 16
# Read before any file, so that no fork compiles patterns, makes the types of the tree, or runs cold code.
OF_OUR_OWN = b"""
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

MODEL = "org/name"


def load_pipe(level=1):
    pipe = StableDiffusionPipeline.from_pretrained(MODEL, torch_dtype=torch.float16).to("cuda")
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    for name in ("unet", "vae"):
        if level > 1 and hasattr(pipe, name):
            setattr(pipe, name, torch.compile(getattr(pipe, name), mode=f"max-{name}"))
    return pipe


def pipe_forward(pipe, prompts, **call):
    return pipe(prompts, **{"num_inference_steps": 20, **call})
"""
WARM_UPS = 8


@dataclass
class Fork:
    """A process that reads one source."""

    file: int  # the number that its request gave it
    pid: int
    ended: int  # a descriptor that can be read once it has ended
    said_fd: int
    deadline: float
    said: bytearray = field(default_factory=bytearray)
    killed_for: str = ""  # why its server ended it


class Server:
    """Takes requests while it has a place, and looks after the forks that read them."""

    def __init__(self, places: int, limits: ReadingLimits) -> None:
        self._places, self._limits = places, limits
        self._channel = Channel(REQUESTS, ANSWERS)
        self._forks: list[Fork] = []
        self._outgoing = bytearray()
        self._devnull = os.open(os.devnull, os.O_RDWR)
        self._libc = ctypes.CDLL(None, use_errno=True)
        # A fork may signal its own group, which is 0, and nobody else.
        self._filter = b"" if seccomp.problem() else seccomp.program(namespaces=False, signals_of=0)

    def serve(self) -> None:
        """Until the other end of the pipe is closed; ends all forks then."""
        try:
            self._send({})
            while self._turn():
                pass
        finally:
            for fork in self._forks:
                self._kill(fork, "nobody asks")

    def _turn(self) -> bool:
        """Waits for something and does it; False once nobody asks any more."""
        poll = select.poll()
        poll.register(REQUESTS, select.POLLIN if len(self._forks) < self._places else 0)
        if self._outgoing:
            poll.register(ANSWERS, select.POLLOUT)
        for fork in self._forks:
            poll.register(fork.ended, select.POLLIN)
            poll.register(fork.said_fd, select.POLLIN if not fork.killed_for else 0)
        first = min((fork.deadline for fork in self._forks if not fork.killed_for), default=None)
        left = None if first is None else max(0.0, first - time.monotonic()) * 1000 + 1
        ready = dict(poll.poll(left))
        if ready.get(REQUESTS, 0) & ~select.POLLIN:  # closed: whoever asked is gone
            return False
        for fork in list(self._forks):
            self._look(fork, ready)
        if ANSWERS in ready:
            with contextlib.suppress(BlockingIOError):
                del self._outgoing[: os.write(ANSWERS, self._outgoing)]
        if REQUESTS in ready:
            header, source = self._channel.receive(MAX_BYTES)
            self._start(header["file"], header["path"], bytes(source))
        return True

    def _start(self, file: int, path: str, source: bytes) -> None:
        said_fd, into = os.pipe()
        server = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(said_fd)
            self._send({"file": file, "ended": "no process", "why": error.strerror})
        else:
            if pid == 0:
                self._read_one(server, into, path, source)
            os.set_blocking(said_fd, False)
            self._forks.append(Fork(file, pid, os.pidfd_open(pid), said_fd, time.monotonic() + self._limits.wall_s))
        os.close(into)

    def _read_one(self, server: int, into: int, path: str, source: bytes) -> NoReturn:
        """All that a fork does."""
        code = 1
        try:
            os.dup2(into, REQUESTS)  # the one descriptor of the server's that is left to it
            os.dup2(self._devnull, ANSWERS)
            os.dup2(self._devnull, ERRORS)
            os.closerange(ERRORS + 1, MOST_DESCRIPTORS)
            os.setpgid(0, 0)
            self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == server:  # else it ended just before
                confine_fork(self._limits, self._filter)
                said = memoryview(answer(source, path))
                while said:
                    said = said[os.write(REQUESTS, said) :]
                code = 0
        finally:  # whatever it was: nothing of the server may go on in here
            os._exit(code)

    def _look(self, fork: Fork, ready: dict[int, int]) -> None:
        if fork.said_fd in ready or fork.ended in ready:
            self._listen(fork)
        if fork.ended in ready:
            self._forks.remove(fork)
            os.close(fork.ended)
            os.close(fork.said_fd)
            code = os.waitstatus_to_exitcode(os.waitpid(fork.pid, 0)[1])
            ended = fork.killed_for or ("answered" if code == 0 else "died")
            self._send({"file": fork.file, "ended": ended, "code": code}, fork.said if ended == "answered" else b"")
        elif not fork.killed_for and time.monotonic() >= fork.deadline:
            self._kill(fork, "wall time")

    def _listen(self, fork: Fork) -> None:
        """Takes what a fork wrote, up to what an answer may be."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(fork.said_fd, READ_BYTES):
                fork.said += data
                if len(fork.said) > MAX_ANSWER_BYTES:
                    self._kill(fork, "long answer")
                    return

    def _kill(self, fork: Fork, why: str) -> None:
        fork.killed_for = why
        fork.said.clear()
        with contextlib.suppress(ProcessLookupError):
            os.kill(fork.pid, signal.SIGKILL)

    def _send(self, header: dict[str, object], said: bytes | bytearray = b"") -> None:
        text = json.dumps(header).encode()
        self._outgoing += PREFIX.pack(len(text), len(said)) + text + said


def confine_fork(limits: ReadingLimits, filter_: bytes) -> None:
    """Limits for good, on CPU time and memory: no file, no descriptor, no process; and the filter of system calls."""
    for kind, soft, hard in (
        (resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + 1),
        (resource.RLIMIT_AS, limits.memory_bytes, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_NOFILE, 0, 0),
        (resource.RLIMIT_NPROC, 0, 0),
    ):
        most = resource.getrlimit(kind)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(kind, (soft, hard))
    if filter_:
        with contextlib.suppress(OSError):
            seccomp.install(filter_)


def prepare() -> None:
    """Imports what a fork could need, and gives up what no fork needs, as far as this machine knows of it."""
    for module in pkgutil.iter_modules(encodings.__path__):  # a source may name any of them in its first line
        with contextlib.suppress(ImportError, AttributeError):
            importlib.import_module(f"encodings.{module.name}")
    for _ in range(WARM_UPS):
        answer(OF_OUR_OWN, "/model.py")
    most = min(MOST_DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for name in (signal.SIGXCPU, signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_DFL)
    with contextlib.suppress(OSError):  # where the kernel runs out of memory, it ends these first
        Path("/proc/self/oom_score_adj").write_text("1000")
    gc.collect()
    gc.disable()  # a tree has no garbage, and its reader's life is short
    gc.freeze()


def give_up_rights() -> None:
    """Leaves this process, and all that it forks, no capability and no file."""
    with contextlib.suppress(OSError):
        seccomp.forbid_new_privileges()
        drop_capabilities()
    with contextlib.suppress(OSError):
        landlock.restrict(())


def main() -> None:
    """Prepares itself, says so, and serves. Its last argument: how many forks may read at once, and their limits."""
    prepare()
    places, *limits = json.loads(sys.argv[-1])
    server = Server(places, ReadingLimits(*limits))
    give_up_rights()
    with contextlib.suppress(ChannelClosed, BrokenPipeError):
        server.serve()
