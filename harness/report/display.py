"""What a run shows while it goes on: a live view on a terminal, plain lines in a log.

It runs on the machine that is being measured, so it redraws twice a second and computes nothing of weight.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from actors.messages import Progress
from harness.records import PairRecord, Verdict
from harness.report import text

REDRAWS_PER_S = 2.0
LOG_EVERY_S = 10.0  # between two lines of one actor
ID_LENGTH = 24
DETAIL_LENGTH = 240

Clock = Callable[[], float]  # seconds from any moment on


class Tally:
    """How far a run is."""

    def __init__(self, total: int, already_done: int, clock: Clock) -> None:
        self.total = total
        self.already_done = already_done
        self.verdicts: Counter[Verdict] = Counter()
        self._timed = 0
        self._clock = clock
        self._start = clock()

    def add(self, record: PairRecord) -> None:
        """Count a finished pair."""
        self.verdicts[record.verdict] += 1
        self._timed += record.wall_s > 0

    @property
    def done(self) -> int:
        """Pairs with a record, those of an earlier run included."""
        return self.already_done + self.verdicts.total()

    @property
    def elapsed_s(self) -> float:
        """Since this run started."""
        return self._clock() - self._start

    @property
    def left_s(self) -> float | None:
        """What the rest takes if it goes on like this; None before a pair was run.

        Pairs that ended before any pipeline ran say nothing of the time that the others take.
        """
        return self.elapsed_s / self._timed * (self.total - self.done) if self._timed else None

    def __str__(self) -> str:
        counts = (self.verdicts[verdict] for verdict in Verdict)
        passed, failed, inconclusive = counts
        return f"{passed} passed, {failed} failed, {inconclusive} inconclusive, {self.total - self.done} left"


class Display(ABC):
    """What a driver tells of a run; leaving the context stops it."""

    @abstractmethod
    def start(self, total: int, already_done: int) -> None:
        """A run of `total` pairs starts, of which an earlier one finished some."""

    @abstractmethod
    def progress(self, actors: Sequence[Progress]) -> None:
        """What every actor is doing now."""

    @abstractmethod
    def finished(self, record: PairRecord) -> None:
        """A pair has its record."""

    @abstractmethod
    def stop(self) -> None:
        """The run is over, or broken off. May be called twice, and without a start."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def make_display(console: Console) -> Display:
    """A live view where the console can redraw, else plain lines."""
    return LiveDisplay(console) if console.is_interactive else LogDisplay(console)


class NullDisplay(Display):
    """Shows nothing."""

    def start(self, total: int, already_done: int) -> None:
        """Nothing."""

    def progress(self, actors: Sequence[Progress]) -> None:
        """Nothing."""

    def finished(self, record: PairRecord) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


class LogDisplay(Display):
    """A line for each finished pair, and now and then what an actor is at."""

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._tally = Tally(0, 0, clock)
        self._said: dict[str, tuple[str | None, str]] = {}  # actor -> pair and phase of its last line
        self._said_at: dict[str, float] = {}

    def start(self, total: int, already_done: int) -> None:
        """Says how much there is to do."""
        self._tally = Tally(total, already_done, self._clock)
        before = f", {already_done} of them finished before" if already_done else ""
        self._say(Text(f"{total} pairs{before}"))

    def progress(self, actors: Sequence[Progress]) -> None:
        """A line where an actor has changed its pair or phase, and has said nothing for a while."""
        now = self._clock()
        for actor in actors:
            state = (actor.pair, actor.phase)
            recently = now - self._said_at.get(actor.actor, now - LOG_EVERY_S) < LOG_EVERY_S
            if actor.pair is None or recently or self._said.get(actor.actor) == state:
                continue
            self._said[actor.actor], self._said_at[actor.actor] = state, now
            self._say(Text(f"{actor.actor}: {text.plain(actor.pair, ID_LENGTH)}: {_phase(actor)}"))

    def finished(self, record: PairRecord) -> None:
        """A line with the verdict."""
        self._tally.add(record)
        self._say(_finished_line(record, self._tally))

    def stop(self) -> None:
        """Nothing is held."""

    def _say(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True)  # a log has no width


class LiveDisplay(Display):
    """A line for each actor and the totals, redrawn in place; finished pairs scroll by above it."""

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._tally = Tally(0, 0, clock)
        self._actors: Sequence[Progress] = ()
        self._live = Live(
            get_renderable=self._render, console=console, refresh_per_second=REDRAWS_PER_S, transient=True
        )

    def start(self, total: int, already_done: int) -> None:
        """Begins to draw."""
        self._tally = Tally(total, already_done, self._clock)
        self._live.start()

    def progress(self, actors: Sequence[Progress]) -> None:
        """Drawn with the next redraw."""
        self._actors = list(actors)

    def finished(self, record: PairRecord) -> None:
        """A line above the live view."""
        self._tally.add(record)
        self._console.print(_finished_line(record, self._tally))

    def stop(self) -> None:
        """Takes the live view off the screen."""
        self._live.stop()

    def _render(self) -> RenderableType:
        tally = self._tally
        left = "" if tally.left_s is None else f", about {text.duration(tally.left_s)} left"
        head = Table.grid(padding=(0, 2, 0, 0))
        head.add_row(
            ProgressBar(total=max(tally.total, 1), completed=tally.done, width=20),
            Text(f"{tally.done} of {tally.total}"),
            Text(f"{text.duration(tally.elapsed_s)}{left}"),
        )
        lines = Table.grid(padding=(0, 2, 0, 0))
        for _ in range(3):
            lines.add_column(no_wrap=True)
        for actor in self._actors:
            pair = text.plain(actor.pair or "", ID_LENGTH)
            lines.add_row(Text(actor.actor), Text(pair, style="bold"), Text(_phase(actor)))
        return Group(head, Text(str(tally)), lines)


def _phase(actor: Progress) -> str:
    return f"{actor.phase}, batch {actor.batch} of {actor.batches}" if actor.batch else actor.phase


def _finished_line(record: PairRecord, tally: Tally) -> Text:
    """Such as "[3/14] deepcache-2: FAIL speedup: speedup 1.12x ... (41 s)"."""
    why = text.why_and_strict(record)
    time_spent = f" ({text.duration(record.wall_s)})" if record.wall_s > 0 else ""
    return Text.assemble(
        f"[{tally.done}/{tally.total}] {text.plain(record.prompt_id, ID_LENGTH)}: ",
        text.verdict(record),
        f"{f' {why}' if why else ''}: {text.plain(text.detail(record), DETAIL_LENGTH)}{time_spent}",
    )
