"""The code of the supervisor that touches what a child wrote, each part as a function that a fuzzer can call.

A target returns how its input ended, as a short name. It lets through what may not happen: any exception but those
that its code documents, and a `Finding` of its own.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from fuzz_child import LIMITS, AnsweringChild, fill
from fuzz_inputs import PIPE_BYTES, Answers
from rich.console import Console

from actors.messages import Batch, BatchRow, ImageRow, Layout, ModelFile, Outcome, Side, Status, Stopped
from actors.model_config import ModelConfig
from actors.protocol import Channel, ChannelClosed, ProtocolError
from actors.sandbox import Child, ChildFailure
from actors.side import LoadedSide, check_clocks
from harness.evaluation import SourceFacts, Sources, make_record
from harness.figures import SequentialDesign
from harness.judge import Criteria
from harness.records import PairRecord, Protocol, RareLosses, batches_table, images_table, pairs_table, rows_of
from harness.report import text
from harness.report.display import LogDisplay
from harness.report.summary import print_pairs, print_summary
from harness.requirement import Requirement
from harness.result_set import ResultSet
from harness.run_statistics import summarise
from harness.tasks import Difficulty, Pair, Task

BATCHES = tuple(Batch(("a red circle", "a blue star"), (number, number + 1)) for number in range(4))
FILE = ModelFile("/nowhere/candidate.py", b"")
MAX_PAYLOAD = 1000
MOST_DETAIL, MOST_LOG = 5_000, 50_000  # characters of a failure's detail and log
CONFIG = ModelConfig("P", "m", "S", 24)
REQUIREMENT = Requirement(speedup=1.5, latency_s=1.0)
PAIR = Pair(Task("7", "context", Difficulty.HARD, 3, Path("r.py"), Path("b.py"), REQUIREMENT), Path("c.py"))
SOURCES = Sources(SourceFacts("ab" * 32, CONFIG), SourceFacts("cd" * 32, CONFIG), SourceFacts("ef" * 32, CONFIG))
CRITERIA = Criteria(Protocol.STRICT, 0.05)
# So few images exclude no rare losses, and then no candidate could pass.
DESIGN = SequentialDesign(0.95, len(BATCHES), rare_losses=RareLosses.ASSUME_NONE)
STRETCHES_S = (0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.51)  # of the baseline, for a latency
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Finding(Exception):
    """Something that may not happen, and is no exception of the code."""


def frames(raw: bytes) -> str:
    """`Channel.receive`, of bytes after which the other side is gone."""
    out, inn = os.pipe()
    fill(inn, raw[:PIPE_BYTES])
    os.close(inn)
    channel = Channel(out, os.open(os.devnull, os.O_WRONLY))
    try:
        header, payload = channel.receive(MAX_PAYLOAD)
    except (ProtocolError, ChannelClosed) as error:
        require_short("an error", str(error), 500)
        return type(error).__name__
    finally:
        channel.close()
    if not isinstance(header, dict) or len(payload) > MAX_PAYLOAD:
        raise Finding(f"a frame with a header of {type(header).__name__} and {len(payload)} bytes")
    return "frame"


def answers(said: Answers) -> str:
    """What a LoadedSide makes of a child's answers, request by request: `load` and `config`, `generate`, `profile`."""
    requests: dict[str, Callable[[LoadedSide], object]] = {
        "load": lambda side: LoadedSide.load(Side.CANDIDATE, side.child, FILE),
        "generate": lambda side: timed_call(side, 0),
        "profile": lambda side: side.take_profile(BATCHES[0]),
    }
    ends = []
    with AnsweringChild(said) as child:
        for name, request in requests.items():
            try:
                request(LoadedSide(Side.CANDIDATE, child, 0.0, CONFIG))
                ends.append(f"{name} good")
            except ChildFailure as failure:
                require_short("a detail", failure.detail, MOST_DETAIL)
                require_short("a log", failure.log, MOST_LOG)
                ends.append(f"{name} {failure.status}")
    return ", ".join(ends)


def records(said: Answers) -> str:
    """From a child's answers to the record of its pair, its tables and back, and all that is printed of it."""
    record, outcome = judged_pair(said)
    tables = batches_table("7", outcome.batches), images_table("7", outcome.images)
    if [table.num_rows for table in tables] != [len(outcome.batches), len(outcome.images)]:
        raise Finding("a row was lost")
    if rows_of(pairs_table([record]), PairRecord)[0].verdict is not record.verdict:
        raise Finding("the table has another verdict than the record")
    out = io.StringIO()
    LogDisplay(Console(file=out, width=120, color_system=None)).finished(record)
    require_printable(out.getvalue())
    return f"{record.status} {record.verdict}"


def result_sets(said: Answers) -> str:
    """From a child's answers to a result set on disk, finished and read again."""
    record, outcome = judged_pair(said)
    with tempfile.TemporaryDirectory(prefix="diffharness-fuzz-", dir="/dev/shm") as folder:
        with ResultSet.open(Path(folder) / "set", {"config": {}, "seed": 1}, ["7"]) as results:
            results.append(record, outcome.batches, outcome.images)
        stored = ResultSet.load(Path(folder) / "set")
    if [one.verdict for one in stored] != [record.verdict]:
        raise Finding("the result set has another verdict than the record")
    require_printable(printed(stored[0]))
    return f"{record.status} {record.verdict}"


def lines(said: str) -> str:
    """A text of a child as one line of the report."""
    line = text.plain(said, 240)
    require_short("a line", line, 240)
    require_printable(line)
    return "empty" if not line else "cut" if line.endswith("...") else "whole"


def timed_call(side: LoadedSide, number: int) -> BatchRow:
    """The request `generate`, with all that is checked of its answer."""
    row, pixels = side.call(BATCHES[number], number, 2 * number + 1, "call_s")
    check_clocks(row, LIMITS)
    if len(pixels) != row.images or pixels.nbytes > LIMITS.image_pixels * 3 * row.images:
        raise Finding(f"pixels of shape {pixels.shape}")
    return row


def judged_pair(said: Answers) -> tuple[PairRecord, Outcome]:
    """The record of a pair whose candidate answers so, with an honest baseline; and the outcome that it is made of."""
    with AnsweringChild(said) as child:
        outcome = measured(child)
    record = make_record(PAIR, SOURCES, outcome, CRITERIA, DESIGN, NOON)
    require_short("a detail", record.detail, MOST_DETAIL)
    return record, outcome


def measured(child: Child) -> Outcome:
    """What an actor would report of the pair: all that was measured until a failure."""
    side: LoadedSide | None = None
    rows: list[BatchRow] = []
    status, detail, log = Status.MEASURED, "", ""
    try:
        side = LoadedSide.load(Side.CANDIDATE, child, FILE)
        for number, batch in enumerate(BATCHES):
            rows.append(BatchRow(number, 2 * number, Side.BASELINE, len(batch.prompts), 1.0, 0.9, 24, None, 0.0))
            rows.append(timed_call(side, number))
        side.take_profile(BATCHES[0])
    except ChildFailure as failure:
        status, detail, log = failure.status, failure.detail, failure.log
    images = tuple(
        ImageRow(row.batch, position, prompt, 1, False, 30.0, 29.9, 0.9, 30.0)
        for row in rows
        if row.side is Side.CANDIDATE
        for position, prompt in enumerate(BATCHES[row.batch].prompts)
    )
    return Outcome(
        pair="7",
        attempt=1,
        status=status,
        detail=detail,
        candidate=side.report() if side else None,
        batches=tuple(rows),
        images=images,
        layout=Layout.INTERLEAVED,
        stretches_s=STRETCHES_S,
        stopped=Stopped.BOUND,
        log=log,
        wall_s=1.0,
    )


def printed(record: PairRecord) -> str:
    """All that is printed of a record at the end of a command."""
    out = io.StringIO()
    console = Console(file=out, width=120, color_system=None)
    print_pairs(console, [record])
    print_summary(console, summarise([record]))
    for line in record.log.splitlines():
        console.print(text.plain(line, 500), markup=False, highlight=False)
    return out.getvalue()


def require_printable(said: str) -> None:
    """Raises Finding where what is printed could steer a terminal."""
    if not said.replace("\n", "").isprintable():
        raise Finding(f"steers the terminal: {said!r}")


def require_short(what: str, said: str, most: int) -> None:
    """Raises Finding for a text that a child can make as long as it likes."""
    if len(said) > most:
        raise Finding(f"{what} of {len(said)} characters; {most} are the most")
