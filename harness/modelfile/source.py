"""A model file from the disk to a syntax tree, and the one error that says why not."""

import ast
import enum
import warnings
from pathlib import Path

MAX_BYTES = 1 << 20


class Problem(enum.StrEnum):
    """Why nothing can be read from a model file."""

    UNREADABLE = "unreadable"  # no such file, or too large
    SYNTAX = "syntax"  # not a Python source
    NO_PIPELINE = "no_pipeline"  # neither a global `pipe` nor a `load_pipe`


class ModelFileError(ValueError):
    """A model file that nothing can be read from; the message names the file and, where there is one, the line."""

    def __init__(self, kind: Problem, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message

    def __str__(self) -> str:
        return self.message


def parse_model_file(path: Path) -> ast.Module:
    """Parse the Python file at `path`. Raises ModelFileError."""
    source = _read_source(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as an invalid escape in a string: the file's own affair
            # Bytes, so that a coding cookie is honoured as in an import.
            return ast.parse(source, filename=str(path))
    except SyntaxError as error:
        raise ModelFileError(Problem.SYNTAX, f"{path}:{error.lineno or 1}: {error.msg}") from error
    except (ValueError, LookupError) as error:
        raise ModelFileError(Problem.SYNTAX, f"{path}:1: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise ModelFileError(Problem.SYNTAX, f"{path}:1: nested too deeply to be parsed") from error


def _read_source(path: Path) -> bytes:
    try:
        if not path.is_file():  # also keeps a pipe or a device, which would never end, from being opened
            reason = "is not a file" if path.exists() else "no such file"
            raise ModelFileError(Problem.UNREADABLE, f"{path}: {reason}")
        with path.open("rb") as file:
            source = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ModelFileError(Problem.UNREADABLE, f"{path}: {error.strerror or error}") from error
    if len(source) > MAX_BYTES:
        raise ModelFileError(Problem.UNREADABLE, f"{path}: larger than {MAX_BYTES} bytes; a model file is a script")
    return source
