"""A child that a fuzzer speaks for: what it answers is an input, and what a supervisor makes of it is the real code."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

from fuzz_inputs import NONCE, PIPE_BYTES, Answer, Answers, frame

from actors.messages import Limits
from actors.protocol import Channel
from actors.sandbox import Child

# Every limit in time is short: an answer after which the pipe stays open must not hold the fuzzer.
LIMITS = Limits(load_s=0.001, warmup_s=0.001, call_s=0.001, image_pixels=64)


class AnsweringChannel(Channel):
    """A channel whose other side has its answer to the next request ready."""

    def __init__(self) -> None:
        super().__init__(*os.pipe())
        self.answer = Answer("")

    def send(self, header: Mapping[str, Any], payload: bytes | memoryview = b"", deadline: float | None = None) -> None:
        """Takes the request, and writes the answer to it into a fresh pipe."""
        self.close()
        self.read_fd, self.write_fd = os.pipe()
        os.set_blocking(self.read_fd, False)
        text = self.answer.header.replace(NONCE, header["nonce"]).encode("utf-8", "surrogatepass")
        fill(self.write_fd, frame(text, self.answer.payload))
        if self.answer.closes:
            os.close(self.write_fd)
            self.write_fd = os.open(os.devnull, os.O_WRONLY)


class AnsweringChild(Child):
    """A child without a process, which answers each request as it was told to."""

    def __init__(self, answers: Answers) -> None:
        self.answers, self.limits = answers, LIMITS
        self._channel: AnsweringChannel = AnsweringChannel()
        self.process = SimpleNamespace(wait=lambda timeout=None: answers.code)  # type: ignore[assignment]
        self._log = bytearray(b"printed \xff\x1b[2J")
        self._drain = threading.Thread(target=int)
        self._drain.start()
        self._watchdog: Any = SimpleNamespace(on_guard=nullcontext, look=lambda: None)
        self._ready, self.answer_cpu_s = True, 0.0

    def ask(self, op: str, *rest: Any, **named: Any) -> tuple[dict[str, Any], bytearray, float]:
        """As any child's, with the answer to this request."""
        self._channel.answer = getattr(self.answers, op)
        return super().ask(op, *rest, **named)

    def _take_output(self) -> bool:
        """It has printed all that it prints."""
        return False

    def pause(self, op: str = "pause") -> None:
        """There is nothing to stop."""

    def cpu_s(self) -> float:
        """It uses none."""
        return 0.0

    def resume(self) -> None:
        """There is nothing that stands still."""

    def end(self) -> None:
        """Closes the channel."""
        self._channel.close()


def fill(fd: int, data: bytes) -> None:
    """Writes at most PIPE_BYTES into an empty pipe, and does not wait."""
    if len(data) > 1 << 16:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.write(fd, data)
