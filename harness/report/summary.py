"""What a run says at its end: a row a pair, why the others did not pass, and the statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from actors.messages import Status
from actors.model_config import ModelConfig
from harness.modelfile import Comparison
from harness.pass_rate import PassRate
from harness.records import PairRecord, Protocol, RareLosses, Verdict
from harness.report import text
from harness.report.display import DETAIL_LENGTH, ID_LENGTH
from harness.run_statistics import NOT_GIVEN, Counts, Spent, Summary

DETAIL_AT_LEAST = 44  # columns of the screen; with fewer, details stand below the table


@dataclass(frozen=True)
class Column:
    """A column of the table of pairs. Where the screen is narrow, the ones of highest `rank` are left out."""

    title: str
    rank: int
    cell: Callable[[PairRecord], Text | str]
    numbers: bool = False


def _interval(write: Callable[[float | None], str], low: float | None, high: float | None) -> str:
    return text.NOT_KNOWN if low is None or high is None else f"{write(low)} to {write(high)}"


def _required(record: PairRecord) -> str:
    if record.requirement_problem is not None:
        return "not clear"
    demands = []
    if record.req_speedup is not None:
        demands.append(text.ratio(record.req_speedup))
    if record.req_latency_s is not None:
        demands.append(text.seconds(record.req_latency_s))
    return ", ".join(demands) or "none"


def _task(record: PairRecord) -> str:
    level = "" if record.level is None else f" {record.level}"
    return f"{record.difficulty or ''}{level}".strip() or text.NOT_KNOWN


COLUMNS = (
    Column("Pair", 0, lambda record: text.plain(record.prompt_id, ID_LENGTH)),
    Column("Task", 9, _task),
    Column("Methods", 8, lambda record: text.plain(text.methods(record), 28)),
    Column("Verdict", 0, text.verdict),
    Column("Why", 1, text.why),
    Column("Strict", 1, text.strict),
    Column("Speedup", 2, lambda record: text.ratio(record.speedup), numbers=True),
    Column("interval", 6, lambda record: _interval(text.ratio, record.speedup_low, record.speedup_high)),
    Column("Required", 3, _required, numbers=True),
    Column("Per image", 5, lambda record: text.seconds(record.candidate_seconds_per_image), numbers=True),
    Column("Loss", 4, lambda record: text.percent(record.quality_loss), numbers=True),
    Column("interval", 7, lambda record: _interval(text.percent, record.quality_loss_low, record.quality_loss_high)),
    Column("Limit", 10, lambda record: text.percent(record.max_quality_loss), numbers=True),
    Column("Achieved", 11, lambda record: text.percent(record.achievement_rate), numbers=True),
)


def print_pairs(console: Console, records: Sequence[PairRecord]) -> None:
    """Print a row a pair, in as many columns as the console has room for, and why pairs did not pass."""
    columns = _fitting(console, records)
    room = console.width - _width(console, _pairs(records, columns)) - 2
    if room >= DETAIL_AT_LEAST:
        console.print(_pairs(records, columns, detail_width=room))
    else:
        console.print(_pairs(records, columns))
        _print_details(console, records)
    for line in _footnotes(records):
        console.print()
        console.print(Text(line))


def print_summary(console: Console, summary: Summary) -> None:
    """Print the statistics of a run."""
    console.print()
    for line in (*_totals(summary), *_errors(summary), *_costs(summary.spent)):
        console.print(Text(line))
    console.print()
    table = _table()
    table.add_column("")
    for title in ("Tasks", "Passed", "Failed", "Incon-\nclusive", "Pass\nrate", "Achieved"):
        table.add_column(title, justify="right", no_wrap=True)
    by_method = {text.method_name(name): group for name, group in summary.by_method.items()}
    _add_groups(table, "difficulty", summary.by_difficulty, summary.protocol)
    _add_groups(table, "level", summary.by_level, summary.protocol)
    _add_groups(table, "method", by_method, summary.protocol)
    _add_groups(table, "status", summary.by_status, summary.protocol)
    _add_groups(table, "reason", summary.by_reason, summary.protocol)
    console.print(table)


def comparison_table(comparison: Comparison) -> Table:
    """Both configurations side by side; what differs is marked."""
    different = {difference.field for difference in comparison.differences}
    table = _table()
    for title in ("", "Reference", "Candidate", ""):
        table.add_column(title, overflow="fold")  # a value that is cut off cannot be compared
    for field in fields(ModelConfig):
        values = (getattr(config, field.name) for config in (comparison.reference, comparison.candidate))
        mark = Text("differs", style="red") if field.name in different else Text("")
        table.add_row(Text(field.name), *(Text(_fact(value)) for value in values), mark)
    return table


def _fact(value: object) -> str:
    if value is None:
        return "not known"
    if isinstance(value, tuple):
        return text.plain(", ".join(text.method_name(name) for name in value), 60) or "none"
    return text.plain(str(value), 60)


def _pairs(records: Sequence[PairRecord], columns: Sequence[Column], detail_width: int | None = None) -> Table:
    table = _table()
    for column in columns:
        table.add_column(column.title, justify="right" if column.numbers else "left", no_wrap=True)
    if detail_width is not None:
        table.add_column("Detail", width=detail_width)
    for record in records:
        cells = [_as_text(column.cell(record)) for column in columns]
        if detail_width is not None:
            cells.append(Text(text.plain(text.detail(record), DETAIL_LENGTH)))
        table.add_row(*cells)
    return table


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")


def _as_text(cell: Text | str) -> Text:
    """As it is: a plain string would be read as rich's markup."""
    return cell if isinstance(cell, Text) else Text(cell)


def _width(console: Console, table: Table) -> int:
    return Measurement.get(console, console.options.update(width=10_000), table).maximum


def _fitting(console: Console, records: Sequence[PairRecord]) -> list[Column]:
    """The columns that say something, as many as the console is wide for."""
    useful = [
        column for column in COLUMNS if any(str(column.cell(record)) not in ("", text.NOT_KNOWN) for record in records)
    ]
    chosen: list[Column] = []
    for column in sorted(useful, key=lambda column: column.rank):
        wider = [one for one in useful if one in (*chosen, column)]
        if column.rank > 0 and _width(console, _pairs(records, wider)) > console.width:
            break
        chosen = wider
    return chosen


def _print_details(console: Console, records: Sequence[PairRecord]) -> None:
    """Why the pairs that did not pass did not, and what is to be looked at in those that did."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for record in records:
        if record.verdict is not Verdict.PASS or text.warnings(record):
            grid.add_row(
                Text(text.plain(record.prompt_id, ID_LENGTH)), Text(text.plain(text.detail(record), DETAIL_LENGTH))
            )
    if grid.row_count:
        console.print()
        console.print(Text("Why pairs did not pass, and warnings", style="bold"))
        console.print(grid)


def _footnotes(records: Sequence[PairRecord]) -> Iterator[str]:
    """What the verdicts of measured pairs do not cover, or take for granted."""
    measured = [record for record in records if record.status is Status.MEASURED]
    bare = sum(not record.covers_restarts for record in measured)
    if bare:
        whose = "The verdicts" if bare == len(measured) else f"{bare} of {len(measured)} verdicts"
        yield (
            f"{whose} are about the two processes that ran, not about other starts of the same files: "
            "see pool.calibration and evaluation.restarts"
        )
    if any(record.rare_losses is RareLosses.ASSUME_NONE for record in measured):
        yield "Losses so rare that the images show none are taken for absent (evaluation.rare_losses: assume_none)"


def _totals(summary: Summary) -> Iterator[str]:
    total = summary.total
    yield f"{total.tasks} tasks: {total.passed} passed, {total.inconclusive} inconclusive, {total.failed} failed"
    if total.pass_rate is not None:
        strict = ""
        if summary.protocol is not Protocol.STRICT:
            yield f"pass rate {text.percent(total.passed_share)} by point values"
            strict = "strict "
        yield f"{strict}pass rate {_pass_rate(total.pass_rate)}"
    if total.mean_achievement_rate is not None:
        rate = text.percent(total.mean_achievement_rate)
        yield f"mean achievement rate of hard tasks: {rate} (of {total.achievement_known})"
    if total.protocols_differ:
        yield f"verdicts on which the strict and the fixed protocol differ: {total.protocols_differ}"


def _pass_rate(rate: PassRate) -> str:
    """Such as "25.0% to 35.0%, 95% interval 10.2% to 58.1% (by 12 baselines)"."""
    known = text.span(rate.low, rate.high)
    if rate.interval_low is None:
        return f"{known}, no interval (one baseline)"
    interval = text.span(rate.interval_low, rate.interval_high)
    return f"{known}, {text.level(rate.confidence)} interval {interval} (by {rate.clusters} baselines)"


def _errors(summary: Summary) -> Iterator[str]:
    """How often the verdicts and intervals may be wrong."""
    if summary.expected_false_passes:
        yield f"at most {text.at_most(summary.expected_false_passes)} false passes are expected"
    if summary.intervals_of_a_pair > 1 and summary.confidence is not None and summary.joint_confidence is not None:
        yield (
            f"each interval of a pair holds with {text.level(summary.confidence)}, {summary.intervals_of_a_pair} of "
            f"them together with at least {text.level(summary.joint_confidence)}"
        )


def _costs(spent: Spent) -> Iterator[str]:
    if spent.seconds_per_verdict is not None and spent.useful_share is not None:
        yield (
            f"{text.duration(spent.actors_s)} of the actors' time, {text.seconds(spent.seconds_per_verdict)} "
            f"a verdict, {text.percent(spent.useful_share)} of it in warm-up and judged batches"
        )
    if len(spent.devices) > 1:
        names = ", ".join(f"{text.plain(name, 40)} ({count})" for name, count in spent.devices.items())
        yield f"the devices are not alike, and times on them not to be compared: {names}"
    if spent.launch_bound:
        yield (
            f"pairs whose baseline waits for the CPU that launches its kernels: {spent.launch_bound}; their speedups "
            "hold for this host's CPU"
        )
    if spent.marked:
        yield f"batches that the machine disturbed, and that are judged all the same: {spent.marked}"


def _share(counts: Counts, protocol: Protocol | None) -> str:
    """The pass rate of a group: a range by the strict protocol, one number by the fixed one."""
    rate = counts.pass_rate
    if rate is None:
        return text.NOT_KNOWN
    if protocol is not Protocol.STRICT or rate.low == rate.high:
        return text.percent(counts.passed_share)
    return f"{rate.low:.0%} to {rate.high:.0%}"  # whole per cents, for a screen of 80 columns


def _add_groups(table: Table, kind: str, groups: Mapping[str, Counts], protocol: Protocol | None) -> None:
    if set(groups) <= {NOT_GIVEN}:
        return
    table.add_section()
    for name, counts in groups.items():
        table.add_row(
            Text(text.plain(f"{kind} {name}", 28)),
            str(counts.tasks),
            str(counts.passed),
            str(counts.failed),
            str(counts.inconclusive),
            _share(counts, protocol),
            text.percent(counts.mean_achievement_rate),
        )
