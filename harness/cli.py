"""The command line: every command is a few lines over the same functions that Python code calls."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from actors.messages import PoolError
from harness import driver
from harness.calibrate import calibrate as measure_against_itself
from harness.calibration import CalibrationError, read_calibration, require_place, write_calibration
from harness.captions import CaptionsError
from harness.config import ConfigError, load_config, require_limits
from harness.modelfile import ModelFileError, ReaderError, compare_model_configs
from harness.planning import ModelNotFound, too_few_images
from harness.records import Protocol, RareLosses
from harness.rejudge import rejudge
from harness.report.calibration import CalibrationDisplay, print_apart, print_calibration
from harness.report.changes import print_changes
from harness.report.display import make_display
from harness.report.summary import comparison_table, print_pairs, print_summary
from harness.report.text import plain
from harness.run_info import ResultSetError, read_out_of_use
from harness.run_statistics import summarise
from harness.tasks import TaskError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
console = Console()
errors = Console(stderr=True)

# What a user can mend: said in one line, without a traceback.
USER_ERRORS = (
    CalibrationError,
    CaptionsError,
    ConfigError,
    ModelFileError,
    ModelNotFound,
    PoolError,
    ReaderError,
    ResultSetError,
    TaskError,
)
KEPT = "what is finished is kept, and the same command goes on from there"
NOT_KEPT = "nothing was written"

ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML; see configs/ for examples.")]
Overrides = Annotated[list[str], typer.Option("--set", help="key=value on top of the configuration; repeatable.")]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder of the result set; an unfinished one is continued.")]
QualityLimit = Annotated[
    float | None, typer.Option(help="Largest relative loss of the CLIP score, as a fraction: 0.05 is 5%.")
]


@app.command()
def run(
    anno: Annotated[Path, typer.Option(help="The annotation file: JSON, the tasks.")],
    gen: Annotated[Path, typer.Option(help="The generated file: JSON, the candidates.")],
    out: OutFolder,
    config: ConfigFile = None,
    overrides: Overrides = [],  # noqa: B006  (typer reads it, nothing writes it)
) -> None:
    """Measure and judge every pair of an annotation file and a generated file."""
    settings = load_config(config, overrides)
    calibration = read_calibration(settings.pool.calibration) if settings.pool.calibration else None
    _warn(too_few_images(settings))
    with interruptible(KEPT), make_display(console) as display:
        records = driver.run(anno, gen, out, settings, display, shlex.join(sys.argv))
    print_pairs(console, records)
    print_summary(console, summarise(records))
    if calibration is not None:
        print_apart(console, calibration, records, settings)
    for line in read_out_of_use(out):
        console.print(plain(line, 500), style="red", markup=False, highlight=False, soft_wrap=True)
    console.print(f"Result set: {out}", markup=False, soft_wrap=True)


@app.command()
def check(
    reference: Annotated[Path, typer.Argument(help="The reference model file.")],
    candidate: Annotated[Path, typer.Argument(help="The candidate model file.")],
) -> None:
    """Compare what two model files build, from their sources alone; exit with 1 where they differ."""
    comparison = compare_model_configs(reference, candidate)
    console.print(comparison_table(comparison))
    if not comparison.matches:
        console.print(str(comparison), markup=False, highlight=False)
        raise typer.Exit(1)
    console.print("The sources agree; what they leave open is compared when the pipelines are loaded.")


@app.command(name="eval")
def evaluate(
    baseline: Annotated[Path, typer.Argument(help="The model file to beat.")],
    candidate: Annotated[Path, typer.Argument(help="The model file that claims to be faster.")],
    reference: Annotated[
        Path | None, typer.Option(help="The file whose model, scheduler and steps must be kept; else the baseline.")
    ] = None,
    req_speedup: Annotated[float | None, typer.Option(help="Required speedup, times.")] = None,
    req_latency_s: Annotated[float | None, typer.Option(help="Allowed seconds per image.")] = None,
    max_quality_loss: QualityLimit = None,
    config: ConfigFile = None,
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Measure and judge one pair; exit with 1 unless it passes."""
    settings = load_config(config, overrides)
    require_limits(req_speedup=req_speedup, req_latency_s=req_latency_s, max_quality_loss=max_quality_loss)
    _warn(too_few_images(settings, max_quality_loss))
    with interruptible(NOT_KEPT), make_display(console) as display:
        record = driver.evaluate(
            baseline,
            candidate,
            reference=reference,
            req_speedup=req_speedup,
            req_latency_s=req_latency_s,
            max_quality_loss=max_quality_loss,
            config=settings,
            display=display,
        )
    print_pairs(console, [record])
    for line in record.log.splitlines():
        console.print(plain(line, 500), markup=False, highlight=False)
    if not record.passed:
        raise typer.Exit(1)


@app.command()
def judge(
    folder: Annotated[Path, typer.Argument(help="A result set.")],
    max_quality_loss: QualityLimit = None,
    protocol: Annotated[Protocol | None, typer.Option(help="strict or fixed; else as in the run.")] = None,
    rare_losses: Annotated[
        RareLosses | None, typer.Option(help="As evaluation.rare_losses; else as in the run, or bound.")
    ] = None,
) -> None:
    """Judge a result set again by today's rules, with other limits and without a GPU, and say what changed.

    The result set stays as it is. It may be of an older version.
    """
    require_limits(max_quality_loss=max_quality_loss)
    pairs = rejudge(folder, max_quality_loss=max_quality_loss, protocol=protocol, rare_losses=rare_losses)
    again = [pair.after for pair in pairs]
    print_pairs(console, again)
    print_changes(console, pairs)
    print_summary(console, summarise(again))


@app.command()
def calibrate(
    baseline: Annotated[Path, typer.Argument(help="The model file to measure against itself.")],
    config: ConfigFile = None,
    overrides: Overrides = [],  # noqa: B006
    batch_size: Annotated[
        list[int], typer.Option(min=1, help="Prompts of a call; repeatable. Without: 1, 4, 16 on GPUs, else 1, 2, 4.")
    ] = [],  # noqa: B006
    batches: Annotated[int, typer.Option(min=2, help="Timed calls of each side in each start.")] = 8,
    restarts: Annotated[int, typer.Option(min=2, help="Starts of both processes, for each GPU and size.")] = 8,
    out: Annotated[Path, typer.Option(help="JSON file for pool.calibration.")] = Path("calibration.json"),
) -> None:
    """Measure a file against itself on every GPU: how small a speedup can be seen here, and with which settings."""
    settings = load_config(config, overrides)
    require_place(out)
    with interruptible(NOT_KEPT), CalibrationDisplay(console) as display:
        calibration = measure_against_itself(baseline, settings, batch_size, batches, restarts, display)
    print_calibration(console, calibration, settings)
    if not calibration.rows:
        raise typer.Exit(1)
    write_calibration(out, calibration)
    console.print(
        f"Calibration: {out}; with --set pool.calibration={out} the intervals of a run hold for other starts of the "
        "same files, and it names devices that are apart",
        markup=False,
        soft_wrap=True,
    )


@app.command()
def doctor() -> None:
    """Say what this machine can do, and what to mend."""
    from harness.doctor import examine, print_findings

    findings = examine()
    print_findings(console, findings)
    if not all(finding.works for finding in findings if finding.needed):
        raise typer.Exit(1)


def _warn(problem: str | None) -> None:
    if problem is not None:
        errors.print(f"warning: {problem}", style="yellow", markup=False, highlight=False, soft_wrap=True)


class Interrupted(BaseException):
    """Ctrl-C, or the SIGTERM of `ray job stop` and of batch systems; typer would make an `Aborted.` of them."""


@contextmanager
def interruptible(kept: str) -> Iterator[None]:
    """Turns KeyboardInterrupt, the one exception that Ray lets through from a signal handler, into Interrupted.

    kept: what becomes of the work, for the user.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(kept) from None


def main() -> NoReturn:
    """The one boundary where the driver's process catches exceptions."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
        sys.exit(0)
    except USER_ERRORS as error:
        errors.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except Interrupted as interrupted:
        errors.print(f"interrupted; {interrupted}")
        sys.exit(130)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
