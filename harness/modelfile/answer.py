"""What a process that read one source says of it, in bytes, and how that is taken: as a claim, checked by hand."""

import json
from pathlib import Path
from typing import Any

from actors.escaped import escaped
from actors.model_config import METHODS, ModelConfig
from harness.modelfile.read import read_config
from harness.modelfile.source import ModelFileError, Problem, SourceError
from harness.modelfile.values import MAX_DOTTED_NAME, MAX_NUMBER, MAX_TEXT

MAX_ANSWER_BYTES = 32 * 1024  # the longest model id takes half of them
MAX_REASON = 300  # characters
CLAIMED = (Problem.SYNTAX, Problem.NO_PIPELINE)  # what such a process may say; the rest its supervisor sees


class BadAnswer(ValueError):
    """Bytes that no sound reader writes."""


def answer(source: bytes, file: str) -> bytes:
    """What the source says, or why nothing can be read from it. Runs in the process that reads this one file."""
    try:
        config = read_config(source, Path(file))
        said: dict[str, Any] = {"config": vars(config)}
    except MemoryError:
        raise
    except SourceError as error:
        # Some messages of the parser quote the source.
        said = {"problem": error.kind, "line": error.line, "text": error.text[:MAX_REASON]}
    except Exception:  # a mistake of the reader's own makes no honest file a bad one: its live pipeline will tell
        said = {"config": vars(ModelConfig(None, None, None, None))}
    return json.dumps(said, ensure_ascii=False).encode("utf-8", "backslashreplace")


def checked(said: bytes, path: Path) -> ModelConfig | ModelFileError:
    """An answer on the file at `path`. Raises BadAnswer for anything but one."""
    try:
        claimed = json.loads(said)
    except (ValueError, RecursionError) as error:
        raise BadAnswer("not JSON") from error
    if not isinstance(claimed, dict):
        raise BadAnswer("not an object")
    if "config" in claimed:
        return _config(claimed["config"])
    kind, line, text = claimed.get("problem"), claimed.get("line"), claimed.get("text")
    if kind not in CLAIMED or type(line) is not int or not 0 <= line < 1 << 31 or not isinstance(text, str):
        raise BadAnswer("a problem that is none")
    return ModelFileError(Problem(kind), f"{path}:{max(line, 1)}: {escaped(text[:MAX_REASON])}")


def _config(claimed: Any) -> ModelConfig:
    if not isinstance(claimed, dict) or claimed.keys() != ModelConfig.__dataclass_fields__.keys():
        raise BadAnswer("other facts than those of a model file")
    steps, methods = claimed["num_inference_steps"], claimed["methods"]
    if steps is not None and (type(steps) is not int or abs(steps) > MAX_NUMBER):
        raise BadAnswer("steps that are no number")
    if not isinstance(methods, list) or methods != sorted(method for method in METHODS if method in methods):
        raise BadAnswer("methods that nobody knows")
    return ModelConfig(
        pipeline_class=_name(claimed["pipeline_class"], MAX_DOTTED_NAME),
        model_id=_name(claimed["model_id"], MAX_TEXT),
        scheduler_class=_name(claimed["scheduler_class"], MAX_DOTTED_NAME),
        num_inference_steps=steps,
        methods=tuple(methods),
    )


def _name(value: Any, most: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= most or not value.isprintable() or value != escaped(value):
        raise BadAnswer("a name that cannot be one")
    return value
