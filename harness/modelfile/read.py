"""What a model file's source says of its configuration."""

import ast
import os
from pathlib import Path

from actors.model_config import ModelConfig
from harness.modelfile.expressions import TooInvolved
from harness.modelfile.follow import Follower
from harness.modelfile.frames import Trace
from harness.modelfile.methods import methods_of
from harness.modelfile.source import ModelFileError, Problem, parse_model_file
from harness.modelfile.values import UNKNOWN, Arguments, Const, Instance, Partial, Value


def read_model_file(path: Path) -> ModelConfig:
    """Read the configuration that the model file at `path` states.

    The program is followed as the harness would run it: the module without its `__main__` part, `load_pipe()` where
    there is no global `pipe`, then `pipe_forward(pipe, prompts)`. A fact is None where the source leaves it open: it
    is not mentioned, it depends on what only a run will show, the ways through the program do not agree on it, or the
    program is too involved to be followed.

    Raises ModelFileError where the file cannot be read, is no Python source, or makes no pipeline.
    """
    tree = parse_model_file(path)
    follower = Follower(Path(os.path.abspath(path)))  # noqa: PTH100 - as `__file__` is: links are not followed
    try:
        return _read(follower, tree, path)
    except (RecursionError, TooInvolved):
        return ModelConfig(None, None, None, None)


def _read(follower: Follower, tree: ast.Module, path: Path) -> ModelConfig:
    follower.follow_module(tree.body)
    module = follower.trace
    pipe, load_pipe = follower.global_name("pipe"), follower.global_name("load_pipe")
    if pipe is None and load_pipe is None and not _has_global_pipe(tree):
        text = f"{path}:1: makes neither a global `pipe` nor a `load_pipe()`; add one of them"
        raise ModelFileError(Problem.NO_PIPELINE, text)

    loading = follower.trace = Trace()
    if load_pipe is not None and pipe in (None, Const(None)):
        pipe = follower.call(load_pipe, Arguments())
    forward = follower.trace = Trace()
    pipe_forward = follower.global_name("pipe_forward")
    if pipe_forward is not None:
        follower.call(pipe_forward, Arguments((pipe or UNKNOWN, UNKNOWN)))
    while isinstance(pipe, Partial):
        pipe = pipe.target
    made = follower.state.pipeline(pipe)

    # The harness never runs the `__main__` part; without a `pipe_forward` it shows how the pipeline is meant to be
    # called.
    main = follower.trace = Trace()
    for guard in follower.main_guards:
        follower.follow_module(guard.body)
    calls = forward.steps if pipe_forward is not None else module.steps + main.steps
    return ModelConfig(
        pipeline_class=made.class_name if made else None,
        model_id=_model_id(made.model_id) if made else None,
        scheduler_class=_class_name(made.scheduler) if made else None,
        num_inference_steps=_only_number(calls),
        methods=methods_of(module.seen | loading.seen | forward.seen),
    )


def _has_global_pipe(tree: ast.Module) -> bool:
    """Say whether any function may set a global `pipe`."""
    return any("pipe" in node.names for node in ast.walk(tree) if isinstance(node, ast.Global))


def _model_id(value: Value) -> str | None:
    text = str(value.value) if isinstance(value, Const) and value.value is not None else ""
    # What does not print, such as half of a surrogate pair, could not be stored in a record.
    return text if text and text.isprintable() else None


def _class_name(value: Value) -> str | None:
    return value.class_name if isinstance(value, Instance) else None


def _only_number(calls: list[Value]) -> int | None:
    """Return the number of steps that all calls agree on."""
    numbers = {call.value if isinstance(call, Const) else None for call in calls}
    number = numbers.pop() if len(numbers) == 1 else None
    return number if isinstance(number, int) and not isinstance(number, bool) else None
