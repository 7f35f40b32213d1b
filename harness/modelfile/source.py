"""A model file from the disk to bytes, from bytes to a syntax tree, and the errors that say why not."""

import ast
import enum
import io
import os
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 1 << 20


class Problem(enum.StrEnum):
    """Why nothing can be read from a model file."""

    UNREADABLE = "unreadable"  # no such file, or too large
    SYNTAX = "syntax"  # not a Python source
    TOO_MUCH = "too_much"  # reading it passed a limit, or ended the process that did
    NO_PIPELINE = "no_pipeline"  # neither a global `pipe` nor a `load_pipe`


@dataclass(frozen=True)
class ReadingLimits:
    """Where a process that reads one file is ended.

    A megabyte of the shortest statements takes half of the CPU time and two thirds of the memory.
    """

    cpu_s: int = 10
    wall_s: float = 120.0  # for a machine that is busy
    memory_bytes: int = 3 << 29  # of its address space


class ModelFileError(ValueError):
    """A model file that nothing can be read from; the message names the file and, where there is one, the line."""

    def __init__(self, kind: Problem, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        return self.message


class SourceError(Exception):
    """What is wrong with a source, within the process that parses it, which has no say in the name of the file."""

    def __init__(self, kind: Problem, line: int, text: str) -> None:
        super().__init__(kind, line, text)
        self.kind, self.line, self.text = kind, line, text


def read_source(path: Path) -> bytes:
    """The bytes of the model file at `path`, read once. Raises ModelFileError.

    What is opened is looked at, and never waited for: a link may lead to a pipe, a device or the kernel's log.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ModelFileError(Problem.UNREADABLE, f"{path}: is not a file")
            source = _all_of(file)
    except FileNotFoundError as error:
        raise ModelFileError(Problem.UNREADABLE, f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise ModelFileError(Problem.UNREADABLE, f"{path}: is not a file") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelFileError(Problem.UNREADABLE, f"{path}: {reason or error}") from error
    if len(source) > MAX_BYTES:
        raise ModelFileError(Problem.UNREADABLE, f"{path}: larger than {MAX_BYTES} bytes; a model file is a script")
    return source


def _all_of(file: io.RawIOBase) -> bytes:
    """What a file holds, up to a byte more than is allowed. Raises OSError where it would have to be waited for."""
    source = b""
    while len(source) <= MAX_BYTES:
        part = file.read(MAX_BYTES + 1 - len(source))
        if part is None:
            raise OSError("it holds nothing yet, as a pipe does; a model file is a script")
        if not part:
            break
        source += part
    return source


def parse_source(source: bytes) -> ast.Module:
    """Parse a source. For the process that reads one file and nothing else. Raises SourceError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as an invalid escape in a string: the file's own affair
            # Bytes, so that a coding cookie is honoured as in an import. Of a name Python would open the file again.
            return ast.parse(source, filename="<model file>")
    except SyntaxError as error:
        raise SourceError(Problem.SYNTAX, error.lineno or 1, error.msg) from error
    except (ValueError, LookupError, OSError) as error:  # OSError: a codec that would have to be looked for on the disk
        raise SourceError(Problem.SYNTAX, 1, str(error)) from error
    except (RecursionError, MemoryError) as error:
        raise SourceError(Problem.SYNTAX, 1, "nested too deeply to be parsed, or too large for the memory") from error
