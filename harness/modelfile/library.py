"""What the calls of diffusers and of the standard library return that decide a configuration."""

import functools
import operator
import os
import posixpath
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from harness.modelfile.dictionaries import call_dict_method, make_dict
from harness.modelfile.state import Pipeline, State
from harness.modelfile.values import (
    NONE,
    UNKNOWN,
    Arguments,
    Const,
    Instance,
    Object,
    Partial,
    Value,
    constant,
)

STEPS = "num_inference_steps"

# Functions that change their first argument and return it, or something that stands for it.
_PASS_THROUGH = (
    "torch.compile",
    "tomesd.apply_patch",
    "*Tgate*Loader",
    "*.apply_cache_on_pipe",
)

_MODEL_ID_NAMES = ("pretrained_model_name_or_path", "pretrained_model_link_or_path")


def _absolute(path: Any, make: Callable[[str], str]) -> Any:
    # A relative path depends on the folder that the file will run in; a deep one takes long to resolve.
    text = os.fspath(path)
    return type(path)(make(text)) if posixpath.isabs(text) and text.count("/") < 50 else None


_abspath = functools.partial(_absolute, make=posixpath.abspath)
_realpath = functools.partial(_absolute, make=os.path.realpath)

# Functions without side effects that are computed where all arguments are constants; None for "not known".
_PURE: dict[str, Callable[..., Any]] = {
    "float": float,
    "int": int,
    "str": str,
    "os.fspath": os.fspath,
    "os.path.abspath": _abspath,
    "os.path.basename": posixpath.basename,
    "os.path.dirname": posixpath.dirname,
    "os.path.join": posixpath.join,
    "os.path.normpath": posixpath.normpath,
    "os.path.realpath": _realpath,
    "pathlib.Path": PurePosixPath,
    "pathlib.PurePath": PurePosixPath,
}

# The same for methods of paths.
_PATH_METHODS: dict[str, Callable[..., Any]] = {
    "absolute": _abspath,
    "as_posix": PurePosixPath.as_posix,
    "joinpath": PurePosixPath.joinpath,
    "resolve": _realpath,
}

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "Add": operator.add,
    "Div": operator.truediv,
    "FloorDiv": operator.floordiv,
    "Mult": operator.mul,
    "Sub": operator.sub,
}


def call_external(path: str, call: Arguments, state: State) -> Value:
    """Return what calling the outside thing with this dotted name makes."""
    owner, _, method = path.rpartition(".")
    owner_class, first = owner.rpartition(".")[2], call.get(0, "pipe", "pipeline", "model")
    if path in _PURE:
        return _compute(_PURE[path], call)
    if path == "dict":
        return make_dict(call, state)
    if path == "functools.partial" and call.positional:
        rest = Arguments(call.positional[1:], call.keywords, call.complete)
        return Partial(call.positional[0], rest)
    if any(fnmatchcase(path, pattern) for pattern in _PASS_THROUGH):
        return first or UNKNOWN
    if is_pipeline_class(owner_class) and method in ("from_pretrained", "from_single_file"):
        return _load(owner_class, call, state)
    if is_pipeline_class(owner_class) and method == "from_pipe":
        source = state.pipeline(first)
        scheduler = call.keywords.get("scheduler", source.scheduler if source else UNKNOWN)
        return state.new(Pipeline(_exact(owner_class), source.model_id if source else UNKNOWN, scheduler))
    if is_pipeline_class(method):
        return state.new(Pipeline(_exact(method), UNKNOWN, call.keywords.get("scheduler", UNKNOWN)))
    if method in ("from_config", "from_pretrained") and is_class(owner_class):
        return Instance(owner_class)
    return Instance(method) if is_class(method) else UNKNOWN


def call_method(base: Value, name: str, call: Arguments, state: State) -> Value:
    """Return what calling the method `name` of a value makes; it may change the value."""
    if isinstance(base, Object):
        pipe, mapping = state.pipeline(base), state.mapping(base)
        if mapping is not None:
            return call_dict_method(base, mapping, name, call, state)
        if pipe is not None and name == "register_modules" and "scheduler" in call.keywords:
            state.set_scheduler(base, call.keywords["scheduler"])
        return base if name == "to" else UNKNOWN
    if isinstance(base, Const) and isinstance(base.value, PurePosixPath) and name in _PATH_METHODS:
        with_self = Arguments((base, *call.positional), call.keywords, call.complete)
        return _compute(_PATH_METHODS[name], with_self)
    if isinstance(base, Instance) and name in ("from_config", "from_pretrained"):
        return base
    return UNKNOWN


def combine(operation: str, left: Value, right: Value, state: State) -> Value:
    """Return the result of a binary operator, named as in `ast`."""
    first, second = state.mapping(left), state.mapping(right)
    if first is not None and second is not None and operation == "BitOr":
        return state.new(first.updated(second.entries, second.complete))
    if not (isinstance(left, Const) and isinstance(right, Const)) or operation not in _OPERATORS:
        return UNKNOWN
    if operation == "Mult" and not all(isinstance(side.value, int | float) for side in (left, right)):
        return UNKNOWN  # a text repeated a billion times
    return _compute(_OPERATORS[operation], Arguments((left, right)))


def is_class(name: str) -> bool:
    """Say whether `name` is written as the name of a class."""
    return name[:1].isupper() and not name.isupper()


def is_pipeline_class(name: str) -> bool:
    """Say whether `name` is the name of a pipeline class or of a loader of pipelines."""
    return is_class(name) and (name.endswith("Pipeline") or name.startswith("AutoPipelineFor"))


def _exact(class_name: str) -> str | None:
    # These choose the class by what they find in the model's folder.
    is_generic = class_name == "DiffusionPipeline" or class_name.startswith("AutoPipelineFor")
    return None if is_generic else class_name


def _load(class_name: str, call: Arguments, state: State) -> Value:
    is_custom = call.keywords.get("custom_pipeline", NONE) != NONE
    return state.new(
        Pipeline(
            None if is_custom else _exact(class_name),
            call.get(0, *_MODEL_ID_NAMES) or UNKNOWN,
            call.keywords.get("scheduler", UNKNOWN),
        )
    )


def _compute(function: Callable[..., Any], call: Arguments) -> Value:
    known = [value.value for value in call.positional if isinstance(value, Const)]
    if not call.complete or call.keywords or len(known) != len(call.positional):
        return UNKNOWN
    try:
        made = function(*known)
    except (ArithmeticError, TypeError, ValueError, OSError):  # the file's own error, at the time it runs
        return UNKNOWN
    return UNKNOWN if made is None else constant(made)
