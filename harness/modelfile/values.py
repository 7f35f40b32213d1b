"""What a name can stand for while a source is followed without being run.

What is not certain is UNKNOWN, and where two ways through the program meet, only what they agree on is kept. Pipelines
and dictionaries change after they are made, so a name holds an `Object` that points into the state; the state is copied
where ways part and joined where they meet.
"""

import ast
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TypeAlias

# Beyond these a constant is not followed: no honest model id or step count is as large, and a hostile file could
# double one at every line.
MAX_TEXT = 4096
MAX_NUMBER = 10**9
MAX_PATH = 256


@dataclass(frozen=True)
class Unknown:
    """Anything at all."""


@dataclass(frozen=True)
class Const:
    """A constant that is known."""

    value: str | int | float | PurePosixPath | None


@dataclass(frozen=True)
class External:
    """Something that the file did not make, by its dotted name: "diffusers.DDIMScheduler", "int"."""

    path: str

    @property
    def name(self) -> str:
        """The last part of the dotted name."""
        return self.path.rpartition(".")[2]


@dataclass(frozen=True)
class Instance:
    """An object of a class of which only the name matters, such as a scheduler."""

    class_name: str


@dataclass(frozen=True)
class Items:
    """A tuple, without tuples inside."""

    values: tuple["Value", ...]


@dataclass(frozen=True)
class Function:
    """A function of the file, with the scopes that it sees and its parameters' default values."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    scopes: tuple[int, ...]
    defaults: dict[str, "Value"] = field(compare=False)


@dataclass(frozen=True)
class LocalClass:
    """A class of the file; its attributes are the names of `scope`."""

    node: ast.ClassDef
    scope: int


@dataclass(frozen=True, eq=False)
class Partial:
    """`functools.partial(target, ...)`."""

    target: "Value"
    arguments: "Arguments"


@dataclass(frozen=True)
class Object:
    """Points to a `Pipeline` or a `Mapping` of the state."""

    number: int


Value: TypeAlias = (
    Unknown | Const | External | Instance | Items | Function | LocalClass | Partial | Object
)
UNKNOWN = Unknown()
NONE = Const(None)


@dataclass(frozen=True)
class Pipeline:
    """A diffusers pipeline; `class_name` is None where only loading it will tell."""

    class_name: str | None
    model_id: Value
    scheduler: Value


@dataclass(frozen=True)
class Mapping:
    """A dictionary with string keys; unless `complete`, it may hold others besides."""

    entries: dict[str, Value]
    complete: bool = True

    def with_entries(self, entries: dict[str, Value], complete: bool = True) -> "Mapping":
        """Return the mapping updated with entries; those of which not all are known may replace any older one."""
        older = self.entries if complete else dict.fromkeys(self.entries, UNKNOWN)
        return Mapping({**older, **entries}, self.complete and complete)


@dataclass(frozen=True)
class Arguments:
    """The arguments of a call; unless `complete`, there may be others besides."""

    positional: tuple[Value, ...] = ()
    keywords: dict[str, Value] = field(default_factory=dict)
    complete: bool = True

    def get(self, position: int, *names: str) -> Value | None:
        """Return the argument at `position` or under one of `names`, else None."""
        if position < len(self.positional):
            return self.positional[position]
        return next((self.keywords[name] for name in names if name in self.keywords), None)

    def followed_by(self, more: "Arguments") -> "Arguments":
        """Return these arguments, as a partial holds them, with those of the call of the partial."""
        return Arguments(
            self.positional + more.positional,
            {**self.keywords, **more.keywords},
            self.complete and more.complete,
        )


@dataclass
class State:
    """What every name of every scope stands for at one point of the program."""

    names: dict[tuple[int, str], Value] = field(default_factory=dict)
    objects: dict[int, Pipeline | Mapping] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))  # shared by all copies

    def copy(self) -> "State":
        """Return a state that changes on its own."""
        return State(dict(self.names), dict(self.objects), self.numbers)

    def new(self, made: Pipeline | Mapping) -> Object:
        """Return a new object."""
        number = next(self.numbers)
        self.objects[number] = made
        return Object(number)

    def get(self, value: Value | None) -> Pipeline | Mapping | None:
        """Return the object that `value` points to, if it is one."""
        return self.objects[value.number] if isinstance(value, Object) else None

    def set_scheduler(self, pipe: Object, scheduler: Value) -> None:
        """Give the pipeline another scheduler."""
        made = self.objects[pipe.number]
        if isinstance(made, Pipeline):
            self.objects[pipe.number] = replace(made, scheduler=scheduler)


def constant(value: object) -> Const | Unknown:
    """Return `value` as a constant, or UNKNOWN where it is of another kind or too large."""
    if value is None or isinstance(value, float):
        return Const(value)
    if isinstance(value, int):
        return Const(value) if abs(value) <= MAX_NUMBER else UNKNOWN
    if isinstance(value, str | PurePosixPath):
        return Const(value) if len(str(value)) <= MAX_TEXT else UNKNOWN
    return UNKNOWN


def external(path: str) -> External | Unknown:
    """Return the outside thing with this dotted name, or UNKNOWN where the name is too long to be one."""
    return External(path) if len(path) <= MAX_PATH else UNKNOWN


def items(values: list[Value]) -> Items | Unknown:
    """Return a tuple; one inside another is not followed, so that comparing stays cheap."""
    return UNKNOWN if any(isinstance(value, Items) for value in values) else Items(tuple(values))


def truth(value: Value, state: State) -> bool | None:
    """Return whether `value` counts as true, or None where that is not known."""
    match value:
        case Const(constant):
            return bool(constant)
        case Function() | LocalClass() | Partial():
            return True
        case Object():
            made = state.get(value)
            if isinstance(made, Mapping):
                return True if made.entries else (False if made.complete else None)
            return True
    return None


def is_none(value: Value) -> bool | None:
    """Return whether `value` is None, or None where that is not known."""
    match value:
        case Const(constant):
            return constant is None
        case Unknown() | External():  # an import may have been replaced by None where it failed
            return None
    return False


class Join:
    """The state where two ways through the program meet."""

    def __init__(self, left: State, right: State) -> None:
        self._left, self._right = left, right
        self._merged: dict[tuple[int, int], Object] = {}
        self.state = State(numbers=left.numbers)
        for number in left.objects.keys() | right.objects.keys():
            first, second = left.objects.get(number), right.objects.get(number)
            # Made on one way only: no name of the other way points to it.
            self.state.objects[number] = self._made(first, second) if first and second else (first or second)  # type: ignore
        for key in left.names.keys() | right.names.keys():
            # Bound on one way only: whatever uses the name later can only have come that way.
            x, y = left.names.get(key), right.names.get(key)
            self.state.names[key] = self._value(x, y) if x and y else (x or y)  # type: ignore
