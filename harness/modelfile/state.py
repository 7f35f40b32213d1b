"""What every name stands for at one point of a program; copied where ways part, joined where they meet."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from harness.modelfile.values import (
    UNKNOWN,
    Const,
    External,
    Function,
    LocalClass,
    Object,
    Partial,
    Value,
)

MAX_ENTRIES = 256  # of a dictionary that is followed: each change of one makes a copy

K = TypeVar("K")
V = TypeVar("V")


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

    def updated(self, entries: dict[str, Value], complete: bool = True) -> "Mapping":
        """Return the mapping with further entries; where those are not all known, any older one may be replaced."""
        older = self.entries if complete else dict.fromkeys(self.entries, UNKNOWN)
        if len(older) + len(entries) > MAX_ENTRIES:
            return Mapping({}, complete=False)
        return Mapping({**older, **entries}, self.complete and complete)


@dataclass
class State:
    """The names of every scope, and the objects that they point to."""

    names: dict[tuple[int, str], Value] = field(default_factory=dict)
    objects: dict[int, Pipeline | Mapping] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))  # shared by all copies

    def copy(self) -> "State":
        """Return a state that changes on its own."""
        return State(dict(self.names), dict(self.objects), self.numbers)

    def new(self, made: Pipeline | Mapping) -> Object:
        """Add an object."""
        number = next(self.numbers)
        self.objects[number] = made
        return Object(number)

    def pipeline(self, value: Value | None) -> Pipeline | None:
        """Return the pipeline that `value` points to, if it does."""
        made = self.objects[value.number] if isinstance(value, Object) else None
        return made if isinstance(made, Pipeline) else None

    def mapping(self, value: Value | None) -> Mapping | None:
        """Return the dictionary that `value` points to, if it does."""
        made = self.objects[value.number] if isinstance(value, Object) else None
        return made if isinstance(made, Mapping) else None

    def set_scheduler(self, pipe: Value, scheduler: Value) -> None:
        """Give a pipeline another scheduler; nothing happens to any other value."""
        made = self.pipeline(pipe)
        if made is not None and isinstance(pipe, Object):
            self.objects[pipe.number] = replace(made, scheduler=scheduler)

    def truth(self, value: Value) -> bool | None:
        """Return whether `value` counts as true, or None where that is not known."""
        match value:
            case Const(known):
                return bool(known)
            case Function() | LocalClass() | Partial():
                return True
        made = self.mapping(value)
        if made is None:
            return True if self.pipeline(value) else None
        return True if made.entries else (False if made.complete else None)


def join(left: State, right: State) -> State:
    """Return the state where two ways through a program meet: what they agree on, and UNKNOWN for the rest.

    A name that only one way binds keeps its value: whatever uses it later can only have come that way.
    """
    return left if left is right else _Join(left, right).state


class _Join:
    def __init__(self, left: State, right: State) -> None:
        self._left, self._right = left, right
        self._numbers: dict[tuple[int, int], int] = {}
        self.state = State(numbers=left.numbers)
        self.state.objects.update(_merged(left.objects, right.objects, self._made))
        self.state.names.update(_merged(left.names, right.names, self._value))

    def _value(self, left: Value, right: Value) -> Value:
        if left is right or left == right:
            return left
        match left, right:
            case (External(), Const(None)):  # an import that may have failed: used later, it did not
                return left
            case (Const(None), External()):
                return right
            case (Object(), Object()):
                return self._object(left.number, right.number)
        return UNKNOWN

    def _object(self, left: int, right: int) -> Value:
        """Join two objects that one name points to, one on each way, into a new one."""
        first, second = self._left.objects.get(left), self._right.objects.get(right)
        if first is None or second is None or type(first) is not type(second):
            return UNKNOWN
        if (left, right) not in self._numbers:
            number = self._numbers[left, right] = next(self.state.numbers)
            self.state.objects[number] = self._made(first, second)
        return Object(self._numbers[left, right])

    def _made(self, left: Pipeline | Mapping, right: Pipeline | Mapping) -> Pipeline | Mapping:
        match left, right:
            case _ if left is right:
                return left
            case (Pipeline(), Pipeline()):
                return Pipeline(
                    left.class_name if left.class_name == right.class_name else None,
                    self._value(left.model_id, right.model_id),
                    self._value(left.scheduler, right.scheduler),
                )
            case (Mapping(), Mapping()):
                shared = _merged(left.entries, right.entries, self._value)
                one_sided = dict.fromkeys(left.entries.keys() ^ right.entries.keys(), UNKNOWN)
                return Mapping({**shared, **one_sided}, left.complete and right.complete)
        return left


def _merged(left: dict[K, V], right: dict[K, V], both: Callable[[V, V], V]) -> dict[K, V]:
    merged = {**left, **right}
    merged.update({key: both(left[key], right[key]) for key in merged if key in left and key in right})
    return merged
