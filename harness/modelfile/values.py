"""What a name can stand for while a source is followed without being run. What is not certain is UNKNOWN."""

import ast
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TypeAlias

# Beyond these a constant is not followed: no honest model id or step count is as large, and a hostile file could
# double one at every line.
MAX_TEXT = 4096
MAX_NUMBER = 10**9
MAX_DOTTED_NAME = 256
MAX_ITEMS = 256


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
    """Points to a pipeline or a dictionary, which change after they are made and so are kept in the state."""

    number: int


Value: TypeAlias = Unknown | Const | External | Instance | Items | Function | LocalClass | Partial | Object
UNKNOWN = Unknown()
NONE = Const(None)


@dataclass(frozen=True)
class Arguments:
    """The arguments of a call; unless `complete`, there may be others besides.

    `is_used` says whether the program does anything with what the call returns.
    """

    positional: tuple[Value, ...] = ()
    keywords: dict[str, Value] = field(default_factory=dict)
    complete: bool = True
    is_used: bool = True

    def get(self, position: int, *names: str) -> Value | None:
        """Return the argument at `position` or under one of `names`, else None."""
        if position < len(self.positional):
            return self.positional[position]
        return next((self.keywords[name] for name in names if name in self.keywords), None)

    def followed_by(self, more: "Arguments") -> "Arguments":
        """Return the arguments of a call of a partial that holds these and is called with `more`."""
        keywords = {**self.keywords, **more.keywords}
        complete = self.complete and more.complete
        return Arguments(self.positional + more.positional, keywords, complete, more.is_used)


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
    return External(path) if len(path) <= MAX_DOTTED_NAME else UNKNOWN


def items(values: list[Value]) -> Items | Unknown:
    """Return a tuple; a long one, or one inside another, is not followed, so that comparing two stays cheap."""
    is_followed = len(values) <= MAX_ITEMS and not any(isinstance(value, Items) for value in values)
    return Items(tuple(values)) if is_followed else UNKNOWN


def is_none(value: Value) -> bool | None:
    """Return whether `value` is None, or None where that is not known."""
    match value:
        case Const(known):
            return known is None
        case Unknown() | External():  # a name that is None where its import failed
            return None
    return False
