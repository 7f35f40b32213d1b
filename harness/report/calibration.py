"""What a calibration says: how quiet each device is, what can be told apart there, and which settings fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.calibration import (
    Calibration,
    CalibrationRow,
    Suggestion,
    apart,
    distinguishable,
    rows_for_run,
    suggest,
    suggest_starts,
    worst_noise,
    worst_spread,
)
from harness.config import Config, Evaluation
from harness.records import PairRecord
from harness.report import text
from harness.report.display import DETAIL_LENGTH, LogDisplay

AFTER_BATCHES = (4, 8, 16, 32)


class CalibrationDisplay(LogDisplay):
    """A line for each batch size and actor."""

    def start(self, total: int, already_done: int) -> None:
        """Says how much there is to do."""
        self._say(Text(f"measurements of the file against itself: {total}"))

    def finished(self, record: PairRecord) -> None:
        """A line with the ratio, or with what went wrong."""
        found = f"{record.status}: {record.detail}"
        if record.speedup is not None:
            found = f"{_fine_ratio(record.speedup)} as fast as itself"
        self._say(Text(f"{record.prompt_id}: {text.plain(found, DETAIL_LENGTH)} ({text.duration(record.wall_s)})"))


def print_calibration(console: Console, calibration: Calibration, config: Config) -> None:
    """Prints the tables, what they mean, and settings to paste."""
    rows = calibration.rows
    console.print()
    for failure in calibration.failures:
        what = f"batch {failure.batch_size} on {failure.actor} was not measured: {failure.status}: {failure.detail}"
        console.print(Text(text.plain(what, DETAIL_LENGTH), style="red"))
    if not rows:
        return
    starts = max(len(row.start_means) for row in rows)
    measured = f"{starts} starts of both processes with {calibration.batches} batches of each side"
    level = f"intervals of {100 * calibration.confidence:g}%"
    console.print(Text(f"{calibration.baseline} against itself, {measured}, {level}"))
    for line in _devices(rows):
        console.print(Text(line))
    for title, table in (
        ("What single batches vary by", _rows_table(rows)),
        ("What starts of the same files vary by", _starts_table(rows, calibration.batches)),
        (
            "Smallest difference of speedup that shows after so many batches, on the noisiest device",
            _differences_table(rows, calibration.confidence),
        ),
    ):
        console.print()
        console.print(Text(title))
        console.print(table)
    for line in (*_unlike_itself(rows), *_agreement(rows, config.pool.tolerance)):
        console.print()
        console.print(Text(line))
    _print_suggestions(console, calibration, config.evaluation)


def print_apart(console: Console, calibration: Calibration, records: Sequence[PairRecord], config: Config) -> None:
    """Prints which of the devices that a run used are apart, by an earlier calibration; nothing where none are."""
    rows, unknown = rows_for_run(calibration, records, config.evaluation.batch_size)
    for one in apart(rows, config.pool.tolerance):
        slower, faster = (f"{row.actor} ({row.device_id} of {row.host})" for row in (one.slower, one.faster))
        console.print(
            Text(
                f"by the calibration of {calibration.date:%Y-%m-%d}, {slower} takes {text.percent(one.share)} longer "
                f"per image than {faster}, in batches of {one.slower.batch_size}: times of different devices are not "
                "to be compared, speedups are"
            )
        )
    if unknown:
        console.print(Text(f"the calibration does not know: {', '.join(sorted(unknown))}"))


def _devices(rows: Sequence[CalibrationRow]) -> Iterator[str]:
    """Such as "NVIDIA H100 80GB HBM3 of node-1: gpu 0, gpu 1"."""
    for device, host in dict.fromkeys((row.device, row.host) for row in rows):
        actors = dict.fromkeys(row.actor for row in rows if (row.device, row.host) == (device, host))
        yield f"{device} of {host}: {', '.join(actors)}"


def _table(*titles: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _rows_table(rows: Sequence[CalibrationRow]) -> Table:
    on_gpus = any(row.gpu_busy is not None for row in rows)
    titles = ("Batch", "Actor", "Per image", "Noise", "Itself", "interval", "Disturbed")
    table = _table(*titles, *(["GPU busy"] if on_gpus else []))
    for row in rows:
        cells = (
            str(row.batch_size),
            row.actor,
            text.seconds(row.seconds_per_image),
            _fine_percent(row.noise),
            _fine_ratio(row.speedup),
            f"{_fine_ratio(row.speedup_low)} to {_fine_ratio(row.speedup_high)}",
            f"{row.disturbed} of {row.timed}",
        )
        table.add_row(*cells, *([text.percent(row.gpu_busy)] if on_gpus else []))
    return table


def _starts_table(rows: Sequence[CalibrationRow], batches: int) -> Table:
    """Of each row the spread between starts, and what follows for a run that has no calibration."""
    titles = ("Starts' std", "df", "Last slower by", "A start", "Batches a start")
    table = _table("Batch", "Actor", *titles)
    for row in rows:
        table.add_row(
            str(row.batch_size),
            row.actor,
            _fine_percent(row.spread.std),
            str(row.spread.df),
            f"{_fine_percent(row.order_effect)} ± {_fine_percent(row.order_error)}",
            text.seconds(row.restart_s),
            str(row.batches_per_start(batches)),
        )
    return table


def _differences_table(rows: Sequence[CalibrationRow], confidence: float) -> Table:
    """What can be told of the two processes that run, and, with this calibration, of the files."""
    table = _table("Batch", "Speedup of", *(f"{batches} batches" for batches in AFTER_BATCHES))
    spreads = worst_spread(rows, confidence)
    for size, noise in worst_noise(rows).items():
        for name, spread, starts in (
            ("two processes", None, 1),
            ("files, 1 start", spreads[size], 1),
            ("files, 2 starts", spreads[size], 2),
        ):
            found = [distinguishable(noise, batches, confidence, spread, starts) for batches in AFTER_BATCHES]
            table.add_row(str(size), name, *map(_fine_percent, found))
    return table


def _unlike_itself(rows: Sequence[CalibrationRow]) -> Iterator[str]:
    unlike = [row for row in rows if not row.speedup_low <= 1 <= row.speedup_high]
    if unlike:
        where = ", ".join(f"{_fine_ratio(row.speedup)} in batches of {row.batch_size} on {row.actor}" for row in unlike)
        yield (
            f"The file is not as fast as itself: {where}. That is chance, or it matters which process is started last. "
            "With this calibration, the intervals of a run are wider by as much."
        )


def _agreement(rows: Sequence[CalibrationRow], tolerance: float) -> Iterator[str]:
    if len({row.device for row in rows}) > 1:
        yield "The devices are of different models: compare the times of pairs on one of them only."
    found = apart(rows, tolerance)
    for one in found:
        yield (
            f"In batches of {one.slower.batch_size}, {one.slower.actor} takes {text.percent(one.share)} longer per "
            f"image than {one.faster.actor}; pool.tolerance is {text.percent(tolerance)}."
        )
    if not found and len({row.actor for row in rows}) > 1:
        yield f"All actors take the same time per image, to within {text.percent(tolerance)} (pool.tolerance)."


def _print_suggestions(console: Console, calibration: Calibration, settings: Evaluation) -> None:
    rows = calibration.rows
    found = suggest(worst_noise(rows), worst_spread(rows, calibration.confidence), settings)
    starts = "one start" if found.restarts == 1 else f"{found.restarts} starts"
    what = f"With this calibration (pool.calibration), batches of {found.batch_size} in {starts}"
    _print_settings(console, what, found, settings.half_width)
    alone = suggest_starts([row for row in rows if row.batch_size == found.batch_size], calibration.batches, settings)
    each = alone.batches // alone.restarts
    what = f"Without it, {each} batches of {alone.batch_size} in each of {alone.restarts} starts"
    _print_settings(console, what, alone, settings.half_width)


def _print_settings(console: Console, what: str, found: Suggestion, wanted: float) -> None:
    told = f"tell speedups {text.percent(found.half_width)} apart"
    if found.half_width > wanted:
        told += f", and nothing that was tried tells {text.percent(wanted)} apart (evaluation.half_width)"
    keys = {
        "batch_size": found.batch_size,
        "prompts": found.prompts,
        "restarts": found.restarts,
        "half_width": found.half_width,
    }
    console.print()
    console.print(Text(f"{what} {told}:"))
    for line in (
        f"evaluation: {{{', '.join(f'{key}: {value}' for key, value in keys.items())}}}",
        " ".join(f"--set evaluation.{key}={value}" for key, value in keys.items()),
    ):
        console.print(Text(f"  {line}"), soft_wrap=True)  # what is to be pasted is not broken


def _fine_ratio(value: float) -> str:
    return f"{value:.3f}x"


def _fine_percent(value: float) -> str:
    return f"{100 * value:.2f}%"
