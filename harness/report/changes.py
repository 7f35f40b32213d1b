"""Which verdicts of a result set have changed since it was stored, and why."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from harness.records import PairRecord
from harness.rejudge import Rejudged
from harness.report import text

LINE_LENGTH = 600


def print_changes(console: Console, pairs: Sequence[Rejudged]) -> None:
    """Print a line for each pair whose verdict is another one than the one that was stored."""
    changed = [pair for pair in pairs if pair.changed]
    console.print()
    if not changed:
        console.print(Text("No verdict differs from the one that was stored."))
        return
    console.print(Text(f"Verdicts that differ from those that were stored: {len(changed)} of {len(pairs)}", "bold"))
    for line in map(_change, changed):
        console.print(Text(text.plain(line, LINE_LENGTH)), soft_wrap=True)


def _change(pair: Rejudged) -> str:
    """Such as "7: PASS -> INCONCLUSIVE quality: quality loss 1.0% (...) is not clearly within the limit of 5.0%"."""
    return f"{pair.before.prompt_id}: {_verdict(pair.before)} -> {_verdict(pair.after)}: {pair.after.detail}"


def _verdict(record: PairRecord) -> str:
    return f"{record.verdict} {record.reason or ''}".strip()
