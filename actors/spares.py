"""Children that import ahead of need, on CPUs that nothing else wants, and stand still while a call is timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from actors.messages import Limits
from actors.sandbox import Child, ChildFailure

CPUS_A_SPARE = 4  # on a machine with fewer there is none
MOST_SPARES = 2


class Spares:
    """The children of an actor that know no model file yet."""

    def __init__(self, start: Callable[[Limits], Child], cpus: int) -> None:
        """cpus: those of the actor."""
        self.room = min(MOST_SPARES, cpus // CPUS_A_SPARE)
        self.children: list[Child] = []
        self._start = start
        self._needed = 0
        self._limits: Limits | None = None  # of those that are expected

    def start_first(self, limits: Limits) -> None:
        """Has the first import while the actor itself starts and times nothing: also where there is room for none."""
        self.children.append(self._start(limits))

    def expect(self, count: int, limits: Limits) -> None:
        """Has children import, as many of the `count` that will be taken as there is room for."""
        self._needed, self._limits = count, limits
        while len(self.children) < min(count, self.room):
            self.children.append(self._start(limits))

    def take(self, limits: Limits) -> Child:
        """A child that is ready.

        Raises RuntimeError: a child that fails before it has seen a model file is nobody's but the machine's fault.
        """
        spare = self.children.pop(0) if self.children else None
        self.expect(self._needed - 1, limits)
        if spare is not None:
            try:
                spare.wait_ready()
                return spare
            except ChildFailure:  # a candidate that filled the memory while it imported fails it, too
                spare.end()
        child = self._start(limits)
        try:
            child.wait_ready()
        except ChildFailure as failure:
            child.end()
            raise RuntimeError(f"a child could not start: {failure}\n{failure.log}") from failure
        return child

    @contextmanager
    def still(self) -> Iterator[None]:
        """Within this a call is timed: they do nothing. One that does not stand still is ended, and replaced later."""
        running = []
        for child in self.children:
            try:
                child.pause()
            except ChildFailure:
                running.append(child)
        for child in running:
            self.children.remove(child)
            child.end()
        try:
            yield
        finally:
            for child in self.children:
                child.resume()
            if running and self._limits is not None:
                self.expect(self._needed, self._limits)

    def end(self) -> None:
        """Ends them all."""
        while self.children:
            self.children.pop().end()
