"""Has sources read by a server in a process of its own, and says of each file what is in it, or why nothing is."""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

from actors.model_config import ModelConfig
from actors.protocol import Channel, ChannelClosed, ProtocolError
from harness.modelfile.answer import MAX_ANSWER_BYTES, BadAnswer, checked
from harness.modelfile.source import ModelFileError, Problem, ReadingLimits, read_source

START_S = 60.0
SILENCE_S = 30.0  # beyond a file's own limit: a server that says nothing for so long does not work any more
MOST_PLACES = 16  # forks at once; each may take the memory of one
SHORTER = "a model file is a script: make it shorter or simpler"
# The folder of the packages comes last, so that nothing beside them can pass for a module of Python's own.
BOOT = "import sys; sys.path.append(sys.argv[1]); from harness.modelfile.server import main; main()"
PASSED_ON = ("PATH", "LD_LIBRARY_PATH")

Source = tuple[int, Path, bytes]  # number in the order of the files, path, bytes
Facts = ModelConfig | ModelFileError


class ReaderError(RuntimeError):
    """This machine cannot start a process that reads model files; says why."""


def read_model_file(path: Path) -> ModelConfig:
    """Read the configuration that the model file at `path` states: see `harness.modelfile.read.read_config`.

    Raises ModelFileError where the file cannot be read, is no Python source, or makes no pipeline, and ReaderError.
    """
    (facts,) = read_sources([(path, read_source(path))])
    if isinstance(facts, ModelFileError):
        raise facts
    return facts


def read_sources(files: Iterable[tuple[Path, bytes]]) -> list[Facts]:
    """What the sources of some files state, in their order; a ModelFileError in the place of one that says nothing.

    Several are read at once. The path is the file's `__file__`, and what an error names. Raises ReaderError.
    """
    return _reader.read(files)


class Reader:
    """A server, started when it is first needed, and again where it has ended. For one thread at a time."""

    def __init__(self, limits: ReadingLimits | None = None) -> None:
        self.limits = limits or ReadingLimits()
        self.places = min(MOST_PLACES, len(os.sched_getaffinity(0)))
        self.process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def read(self, files: Iterable[tuple[Path, bytes]]) -> list[Facts]:
        """As `read_sources`."""
        with self._lock:
            found: dict[int, Facts] = {}
            waiting = ((number, path, source) for number, (path, source) in enumerate(files))
            while lost := self._pass(waiting, self.places, found):
                # The server has ended, and one of these may have brought that about: which one shows when each is
                # read alone.
                for one in lost:
                    if self._pass(iter([one]), 1, found):
                        reason = f"ended the process that has model files read; {SHORTER}"
                        found[one[0]] = ModelFileError(Problem.TOO_MUCH, f"{one[1]}: {reason}")
            return [found[number] for number in sorted(found)]

    def end(self) -> None:
        """Ends the server; the next file starts another."""
        process, channel, self.process, self._channel = self.process, self._channel, None, None
        if channel is not None:
            channel.close()
        if process is not None and self._owner == os.getpid():  # else this process was forked from its owner
            process.kill()
            process.wait()

    def _pass(self, files: Iterator[Source], places: int, found: dict[int, Facts]) -> list[Source]:
        """Reads files until there are no more; or until the server has ended, and returns those it had then."""
        channel, silence_s = self._serving(), self.limits.wall_s + SILENCE_S
        at_work: dict[int, Source] = {}
        try:
            while True:
                while len(at_work) < places and (one := next(files, None)) is not None:
                    number, path, source = at_work[one[0]] = one
                    request = {"file": number, "path": os.path.abspath(path)}  # noqa: PTH100 - links are not followed
                    channel.send(request, source, time.perf_counter() + silence_s)
                if not at_work:
                    return []
                header, said = channel.receive(MAX_ANSWER_BYTES, time.perf_counter() + silence_s)
                if type(header.get("file")) is not int or header["file"] not in at_work:
                    raise ProtocolError("an answer on a file that was not asked for")
                number, path, _ = at_work.pop(header["file"])
                found[number] = facts_of(path, header, bytes(said), self.limits)
        except (ChannelClosed, ProtocolError, TimeoutError):
            self.end()
            return list(at_work.values())
        except BaseException:  # what is still to come would be taken for the answer to another question
            self.end()
            raise

    def _serving(self) -> Channel:
        """The channel to a server that runs. Raises ReaderError."""
        is_ours = self._owner == os.getpid()
        if is_ours and self._channel is not None and self.process is not None and self.process.poll() is None:
            return self._channel
        self.end()
        self._channel = self._start()
        return self._channel

    def _start(self) -> Channel:
        root = str(Path(__file__).parents[2])
        settings = json.dumps([self.places, *astuple(self.limits)])
        command = [sys.executable, "-I", "-S", "-c", BOOT, root, settings]
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
                cwd="/",
                start_new_session=True,  # Ctrl-C is the driver's affair
            )
        except OSError as error:
            raise ReaderError(f"cannot start a process that reads model files: {error.strerror}") from error
        self._owner = os.getpid()
        streams = self.process.stdin, self.process.stdout, self.process.stderr
        assert all(streams)
        into, out, errors = (os.dup(stream.fileno()) for stream in streams if stream)
        for stream in streams:
            if stream:
                stream.close()
        channel = Channel(out, into)
        try:
            channel.receive(0, time.perf_counter() + START_S)
            return channel
        except (ChannelClosed, ProtocolError, TimeoutError) as error:
            channel.close()
            self.end()
            said = os.read(errors, 2000).decode(errors="replace").strip().splitlines()[-1:] or [f"{error!r}"]
            raise ReaderError(f"the process that reads model files does not start: {said[0]}") from error
        finally:
            os.close(errors)


def facts_of(path: Path, header: dict[str, Any], said: bytes, limits: ReadingLimits) -> Facts:
    """What became of one file. header: how the process that read it ended, by its server. Raises ReaderError."""
    ended, code = header.get("ended"), header.get("code")
    if ended == "answered":
        try:
            return checked(said, path)
        except BadAnswer as error:
            reason = f"the process that read it gave no answer that can be used ({error})"
    elif ended == "no process":
        raise ReaderError(f"{path}: cannot start a process to read it: {header.get('why')}; end others, and try again")
    elif ended == "wall time":
        reason = f"reading it took more than {limits.wall_s:g} s"
    elif ended == "long answer":
        reason = f"the process that read it wrote more than {MAX_ANSWER_BYTES:,} bytes"
    else:
        reason = _of_death(code, limits)
    return ModelFileError(Problem.TOO_MUCH, f"{path}: {reason}; {SHORTER}")


def _of_death(code: object, limits: ReadingLimits) -> str:
    number = -code if isinstance(code, int) and code < 0 else 0
    if number == signal.SIGXCPU:
        return f"reading it took more than {limits.cpu_s} s of the CPU"
    if number in set(signal.Signals):
        hint = " (often the kernel's, when memory runs out)" if number == signal.SIGKILL else ""
        return f"the process that read it was ended by {signal.Signals(number).name}{hint}"
    return f"the process that read it broke off; it may use {limits.memory_bytes >> 20:,} MiB of memory"


_reader = Reader()
atexit.register(_reader.end)
