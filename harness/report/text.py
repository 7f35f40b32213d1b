"""Words and numbers as people read them. Rounding happens in the report and nowhere before."""

from __future__ import annotations

import math
import re

from rich.text import Text

from actors.messages import Status
from actors.model_config import METHODS
from harness.records import PairRecord, Protocol, Verdict

VERDICT_STYLES = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.INCONCLUSIVE: "yellow"}
NOT_KNOWN = "-"
READ_AT_MOST = 4096  # characters of a text, however long it is

# Escape sequences of a terminal: CSI, then OSC (titles, links), then the short ones (ECMA-48).
_ESCAPES = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b.?")


def plain(text: str, limit: int) -> str:
    """One line of at most `limit` characters in which nothing steers the terminal.

    Details come out of hostile files: escape sequences go, control and invisible characters become spaces.
    """
    text = _ESCAPES.sub("", text[:READ_AT_MOST])
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= limit else text[: limit - 3].rstrip() + "..."


def verdict(record: PairRecord) -> Text:
    """The verdict in its colour."""
    return Text(record.verdict, style=VERDICT_STYLES[record.verdict])


def why(record: PairRecord) -> str:
    """What kept a pair from passing: the status where it was not measured, else the reason; empty for a PASS."""
    return record.status if record.status is not Status.MEASURED else record.reason or ""


def strict(record: PairRecord) -> str:
    """The strict verdict and its reason, of a record of the fixed protocol where that differs; empty for others."""
    if record.protocol is Protocol.STRICT or record.strict_verdict is record.verdict:
        return ""
    return f"{record.strict_verdict}, {record.strict_reason}" if record.strict_reason else record.strict_verdict


def why_and_strict(record: PairRecord) -> str:
    """Such as "quality (strict: INCONCLUSIVE, quality)"; empty for a PASS by both protocols."""
    beside = f"(strict: {strict(record)})" if strict(record) else ""
    return " ".join(part for part in (why(record), beside) if part)


def warnings(record: PairRecord) -> str:
    """The signs that were seen and did not end the pair; empty where there are none, or where one of them did."""
    return ", ".join(record.findings) if record.status is not Status.REJECTED else ""


def detail(record: PairRecord) -> str:
    """The numbers behind the verdict, and the warnings."""
    seen = warnings(record)
    return f"{record.detail}; warning: {seen}" if seen else record.detail


def methods(record: PairRecord) -> str:
    """The candidate's acceleration methods."""
    if record.candidate_methods is None:
        return NOT_KNOWN
    return ", ".join(method_name(name) for name in record.candidate_methods) or "none"


def method_name(name: str) -> str:
    """ "DeepCache" of "deepcache", without what METHODS says in brackets."""
    return METHODS.get(name, name).partition(" (")[0]


def ratio(value: float | None) -> str:
    """Such as 1.62x."""
    return NOT_KNOWN if value is None else f"{value:.2f}x"


def percent(value: float | None) -> str:
    """Such as 4.3%, of a fraction."""
    # Plus zero: what rounds to nothing has no sign.
    return NOT_KNOWN if value is None else f"{round(100 * value, 1) + 0.0:.1f}%"


def span(low: float | None, high: float | None) -> str:
    """Such as 25.0% to 35.0%, of fractions; one number where both are the same."""
    if low is None or high is None:
        return NOT_KNOWN
    return percent(low) if percent(low) == percent(high) else f"{percent(low)} to {percent(high)}"


def level(value: float) -> str:
    """A confidence such as 95% or 99.9%."""
    return f"{100 * value:.6g}%"


def at_most(value: float) -> str:
    """One decimal of a bound, rounded up."""
    return f"{math.ceil(round(10 * value, 6)) / 10:.1f}"


def seconds(value: float | None) -> str:
    """Three digits of a time that something takes: 412 ms, 1.23 s."""
    if value is None:
        return NOT_KNOWN
    if value < 0.9995:
        return f"{1000 * value:.3g} ms"
    return f"{value:.3g} s" if value < 999.5 else f"{value:.0f} s"


def duration(value: float) -> str:
    """A span of waiting: 41 s, 3 min 05 s, 2 h 10 min."""
    minutes, whole_seconds = divmod(round(value), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left:02} min"
    return f"{minutes} min {whole_seconds:02} s" if minutes else f"{whole_seconds} s"
