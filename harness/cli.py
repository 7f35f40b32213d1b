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
from harness.captions import CaptionsError
from harness.config import ConfigError, load_config, require_limits
from harness.judge import Criteria, judged, summarise
from harness.modelfile import ModelFileError, compare_model_configs
from harness.records import Protocol
from harness.report.display import make_display
from harness.report.summary import comparison_table, print_pairs, print_summary
from harness.report.text import plain
from harness.result_set import ResultSet
from harness.run_info import ResultSetError
from harness.tasks import TaskError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
console = Console()
errors = Console(stderr=True)

# What a user can mend: said in one line, without a traceback.
USER_ERRORS = (CaptionsError, ConfigError, ModelFileError, PoolError, ResultSetError, TaskError)

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
    with interruptible(), make_display(console) as display:
        records = driver.run(anno, gen, out, settings, display, shlex.join(sys.argv))
    print_pairs(console, records)
    print_summary(console, summarise(records))
    console.print(f"Result set: {out}", soft_wrap=True)


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
    with interruptible(), make_display(console) as display:
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
) -> None:
    """Judge a result set again, with other limits and without a GPU. The result set stays as it is."""
    require_limits(max_quality_loss=max_quality_loss)
    records = ResultSet.load(folder)
    evaluation = ResultSet.config(folder)["evaluation"]
    limit = evaluation["max_quality_loss"] if max_quality_loss is None else max_quality_loss
    criteria = Criteria(protocol or Protocol(evaluation["protocol"]), limit)
    again = [judged(record, criteria) for record in records]
    print_pairs(console, again)
    print_summary(console, summarise(again))


@app.command()
def doctor() -> None:
    """Say what this machine can do, and what to mend."""
    from harness.doctor import examine, print_findings

    findings = examine()
    print_findings(console, findings)
    if not all(finding.works for finding in findings if finding.needed):
        raise typer.Exit(1)


class Interrupted(BaseException):
    """Ctrl-C, or the SIGTERM of `ray job stop` and of batch systems; typer would make an `Aborted.` of them."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Turns KeyboardInterrupt, the one exception that Ray lets through from a signal handler, into Interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted from None


def main() -> NoReturn:
    """The one boundary where the driver's process catches exceptions."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
        sys.exit(0)
    except USER_ERRORS as error:
        errors.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except Interrupted:
        errors.print("interrupted; what is finished is kept, and the same command goes on from there")
        sys.exit(130)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
