"""Frames between a supervisor and its child: a JSON header and raw bytes, over a pair of pipes of their own.

A frame is a 4-byte header length, an 8-byte payload length (both big-endian), the header as UTF-8 JSON, the payload.
The supervisor names the most bytes that it will take before it reads a payload: nothing that a child writes can make
it hold more, wait longer than its deadline, or unpickle anything.
"""

from __future__ import annotations

import json
import os
import select
import struct
import time
from collections.abc import Mapping
from typing import Any

PREFIX = struct.Struct(">IQ")
MAX_HEADER_BYTES = 1 << 20
READ_BYTES = 1 << 20


class ProtocolError(Exception):
    """The other side wrote something that is no frame, or a frame that may not be."""


class ChannelClosed(Exception):
    """The other side is gone: its end of the pipe is closed, or its process has ended."""


class Channel:
    """One end of the pair of pipes.

    `ended_fd` is a descriptor that becomes readable when the other side's process ends (a pidfd): a process that
    something else outlives, with the pipe still open, is then seen to be gone.
    """

    def __init__(self, read_fd: int, write_fd: int, ended_fd: int | None = None) -> None:
        self.read_fd, self.write_fd, self.ended_fd = read_fd, write_fd, ended_fd
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)

    def close(self) -> None:
        """Closes every descriptor."""
        for fd in (self.read_fd, self.write_fd, self.ended_fd):
            if fd is not None:
                os.close(fd)

    def send(self, header: Mapping[str, Any], payload: bytes | memoryview = b"", deadline: float | None = None) -> None:
        """Writes one frame. `deadline` is a time of `time.perf_counter`.

        Raises ChannelClosed, and TimeoutError when the other side does not read.
        """
        text = json.dumps(header).encode()
        size = payload.nbytes if isinstance(payload, memoryview) else len(payload)
        for part in (PREFIX.pack(len(text), size) + text, payload):
            view = memoryview(part).cast("B")
            while view:
                try:
                    view = view[os.write(self.write_fd, view) :]
                except BlockingIOError:
                    self._wait(self.write_fd, select.POLLOUT, deadline)
                except BrokenPipeError as error:
                    raise ChannelClosed from error

    def receive(self, max_payload: int, deadline: float | None = None) -> tuple[dict[str, Any], bytearray]:
        """Reads one frame: its header and its payload of at most `max_payload` bytes.

        Raises ProtocolError, ChannelClosed, and TimeoutError past `deadline`.
        """
        header_size, payload_size = PREFIX.unpack(self._read(PREFIX.size, deadline))
        if header_size > MAX_HEADER_BYTES:
            raise ProtocolError(f"a header of {header_size} bytes; {MAX_HEADER_BYTES} are allowed")
        if payload_size > max_payload:
            raise ProtocolError(f"a payload of {payload_size} bytes; {max_payload} are allowed")
        try:
            header = json.loads(self._read(header_size, deadline))
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"a header that is no JSON: {error}") from error
        if not isinstance(header, dict):
            raise ProtocolError("a header that is no JSON object")
        return header, self._read(payload_size, deadline)

    def _read(self, size: int, deadline: float | None) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            try:
                count = os.readv(self.read_fd, [view[:READ_BYTES]])
            except BlockingIOError:
                self._wait(self.read_fd, select.POLLIN, deadline)
                continue
            if count == 0:
                raise ChannelClosed
            view = view[count:]
            if view and deadline is not None and time.perf_counter() > deadline:  # of one who never stops writing
                raise TimeoutError
        return data

    def _wait(self, fd: int, event: int, deadline: float | None) -> None:
        """Waits until `fd` can be read or written. What a process wrote before its end is still read."""
        poll = select.poll()
        poll.register(fd, event)
        if self.ended_fd is not None:
            poll.register(self.ended_fd, select.POLLIN)
        left = None if deadline is None else max(0.0, deadline - time.perf_counter()) * 1000
        ready = dict(poll.poll(left))
        if not ready:
            raise TimeoutError
        if fd not in ready:
            raise ChannelClosed
