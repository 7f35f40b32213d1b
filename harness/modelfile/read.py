"""What a model file's source says of its configuration. Runs in the process that reads one file, and nowhere else."""

import ast
from pathlib import Path

from actors.escaped import escaped
from actors.model_config import ModelConfig
from harness.modelfile.expressions import TooInvolved
from harness.modelfile.follow import Follower
from harness.modelfile.frames import Trace
from harness.modelfile.methods import methods_of
from harness.modelfile.source import Problem, SourceError, parse_source
from harness.modelfile.values import MAX_DOTTED_NAME, UNKNOWN, Arguments, Const, Instance, Partial, Value


def read_config(source: bytes, file: Path) -> ModelConfig:
    """Read the configuration that a source states.

    file: the absolute path that is its `__file__`; it is not opened.
    The program is followed as the harness would run it: the module without its `__main__` part, `load_pipe()` where
    there is no global `pipe`, then `pipe_forward(pipe, prompts)`. A fact is None where the source leaves it open: it
    is not mentioned, it depends on what only a run will show, the ways through the program do not agree on it, or the
    program is too involved to be followed.

    Raises SourceError where it is no Python source, or makes no pipeline.
    """
    tree = parse_source(source)
    try:
        return _read(Follower(file), tree)
    except (RecursionError, TooInvolved):
        return ModelConfig(None, None, None, None)


def _read(follower: Follower, tree: ast.Module) -> ModelConfig:
    follower.follow_module(tree.body)
    module = follower.trace
    pipe, load_pipe = follower.global_name("pipe"), follower.global_name("load_pipe")
    if pipe is None and load_pipe is None and not _has_global_pipe(tree):
        raise SourceError(Problem.NO_PIPELINE, 1, "makes neither a global `pipe` nor a `load_pipe()`; add one of them")

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
        pipeline_class=_plain_name(made.class_name) if made else None,
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
    # What does not print, such as half of a surrogate pair, would not be stored as it is.
    return text if text and text.isprintable() and text == escaped(text) else None


def _class_name(value: Value) -> str | None:
    return _plain_name(value.class_name) if isinstance(value, Instance) else None


def _plain_name(name: str | None) -> str | None:
    """Return a class's name, or None where it is longer than any, or would not be stored as it is."""
    return name if name is not None and len(name) <= MAX_DOTTED_NAME and name == escaped(name) else None


def _only_number(calls: list[Value]) -> int | None:
    """Return the number of steps that all calls agree on."""
    numbers = {call.value if isinstance(call, Const) else None for call in calls}
    number = numbers.pop() if len(numbers) == 1 else None
    return number if isinstance(number, int) and not isinstance(number, bool) else None
