"""Fuzzes all that a supervisor does with what a child wrote: frames, answers, records, result sets, lines of a report.

    python benchmarks/fuzz.py --engine hypothesis --inputs 100000 --target all
    python benchmarks/fuzz.py --engine atheris --inputs 500000 --target frames

hypothesis draws inputs that are nearly right; atheris (pip install 'diffharness[fuzz]') changes bytes and keeps those
that reach new lines of the code. An exception that the code does not document, a call that takes more than SLOWEST_S of
the CPU, or more memory than MOST_MEMORY ends the command with the input that did it.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

SLOWEST_S = 0.2
MOST_MEMORY = 512 * 2**20  # bytes that a target may add to the process, the engine's own included
AGAIN = 3  # times that a slow input is tried once more
ROUND = 2_000  # inputs after which hypothesis begins anew: it remembers all that it has drawn
SHOWN = 12  # outcomes in the table


class Engine(StrEnum):
    """What makes the inputs."""

    HYPOTHESIS = "hypothesis"
    ATHERIS = "atheris"


class Target(StrEnum):
    """What is fuzzed: the names of `load_targets`."""

    FRAMES = "frames"
    ANSWERS = "answers"
    RECORDS = "records"
    RESULT_SETS = "result_sets"
    LINES = "lines"
    ALL = "all"


class TooMuch(Exception):
    """A call took too long, or the process too much memory."""


def load_targets() -> dict[str, tuple[Callable[[Any], str], st.SearchStrategy[Any], Callable[[bytes], Any] | None]]:
    """By name: the function, the strategy of its inputs, and what makes one of atheris' bytes (None: the strategy)."""
    import fuzz_inputs as inputs
    import fuzz_targets as targets

    return {
        "frames": (targets.frames, inputs.frames, inputs.framed),
        "answers": (targets.answers, inputs.answers, None),
        "records": (targets.records, inputs.answers, None),
        "result_sets": (targets.result_sets, inputs.answers, None),
        "lines": (targets.lines, inputs.texts, lambda data: data.decode("utf-8", "surrogateescape")),
    }


def warm_up(function: Callable[[Any], str], name: str) -> None:
    """An honest input, for all that is imported on first use."""
    import fuzz_inputs as inputs

    function({"frames": b"", "lines": ""}.get(name, inputs.HONEST))
    gc.collect()
    gc.freeze()  # what is loaded stays: no collection has to look at it during a call


@dataclass
class Tally:
    """What became of the inputs of one target."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    slowest: str = ""
    memory: int = field(default_factory=lambda: reset_peak())

    def run(self, target: Callable[[Any], str], value: Any) -> None:
        """One input. Raises TooMuch, and what the target lets through."""
        seconds, outcome = timed(target, value)
        for _ in range(AGAIN):  # a busy machine can make anything slow once
            if seconds > SLOWEST_S:
                seconds = min(seconds, timed(target, value)[0])
        self.outcomes[outcome] += 1
        if seconds > self.slowest_s:
            self.slowest_s, self.slowest = seconds, repr(value)[:100]
        if seconds > SLOWEST_S:
            raise TooMuch(f"{seconds:.2f} s of the CPU for one input; {SLOWEST_S:g} are the most")

    def check_memory(self) -> int:
        """Bytes that the process has grown by, at most. Raises TooMuch."""
        grown = peak_memory() - self.memory
        if grown > MOST_MEMORY:
            raise TooMuch(f"{grown / 2**20:.0f} MiB of memory; {MOST_MEMORY / 2**20:.0f} are the most")
        return grown

    def report(self, name: str, engine: Engine, wall_s: float) -> None:
        """Prints a line and the outcomes."""
        print(
            f"{name} ({engine}): {self.outcomes.total():,} inputs in {wall_s:.0f} s, {len(self.outcomes)} outcomes, "
            f"slowest {1000 * self.slowest_s:.1f} ms of the CPU, {self.check_memory() / 2**20:.0f} MiB more at the peak"
        )
        for outcome, count in self.outcomes.most_common(SHOWN):
            print(f"  {count:9,}  {outcome}")
        print(f"  slowest input: {self.slowest}", flush=True)


def timed(target: Callable[[Any], str], value: Any) -> tuple[float, str]:
    """Seconds of the CPU that one input takes, and its outcome."""
    start = time.thread_time()
    outcome = target(value)
    return time.thread_time() - start, outcome


def reset_peak() -> int:
    """Sets the process's peak of memory back to what it has now; that, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def peak_memory() -> int:
    """Most memory that the process has had, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise TooMuch("the kernel does not say what the process has had: no VmHWM in /proc/self/status")


def with_hypothesis(name: str, wanted: int, first_seed: int) -> None:
    """Runs one target on inputs of its strategy. Raises what the first bad input raises, which is made small before."""
    function, strategy, _ = load_targets()[name]
    warm_up(function, name)
    tally, start = Tally(), time.monotonic()
    while (left := wanted - tally.outcomes.total()) > 0:

        @seed(first_seed + tally.outcomes.total())
        @settings(
            max_examples=min(left, ROUND),
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def test(value: Any) -> None:
            tally.run(function, value)

        test()
        tally.check_memory()
    tally.report(name, Engine.HYPOTHESIS, time.monotonic() - start)


def with_atheris(name: str, wanted: int, first_seed: int) -> None:
    """Runs one target on bytes that atheris makes; ends the process, with 0 where all went well."""
    import atheris  # type: ignore[import-untyped]

    with atheris.instrument_imports(include=["actors", "harness"]):
        import fuzz_inputs as inputs

        function, strategy, from_bytes = load_targets()[name]
    warm_up(function, name)
    tally, start = Tally(), time.monotonic()

    @settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def by_strategy(value: Any) -> None:
        tally.run(function, value)

    def one_input(data: bytes) -> None:
        if from_bytes is None:
            by_strategy.hypothesis.fuzz_one_input(data)  # type: ignore[attr-defined]
        else:
            tally.run(function, from_bytes(data))
        if tally.outcomes.total() >= wanted:
            tally.report(name, Engine.ATHERIS, time.monotonic() - start)
            sys.stdout.flush()
            os._exit(0)  # the fuzzer knows no other end

    folder = Path(tempfile.mkdtemp(prefix="diffharness-fuzz-"))
    for number, data in enumerate(inputs.SEEDS):
        (folder / f"seed-{number}").write_bytes(data)
    (folder / "words.dict").write_text("".join(f'"{word}"\n' for word in inputs.WORDS))
    # Its own limits are only a second net: seconds of one input, and MiB of the process.
    limits = ["-timeout=20", "-rss_limit_mb=4096", "-max_len=8192"]
    found = [f"-artifact_prefix={folder}/", f"-dict={folder / 'words.dict'}"]
    atheris.Setup([sys.argv[0], f"-seed={first_seed}", *limits, *found, str(folder)], one_input)
    atheris.Fuzz()


def main(
    engine: Annotated[Engine, typer.Option(help="What makes the inputs.")],
    inputs: Annotated[int, typer.Option(help="How many, of each target.", min=1)],
    target: Annotated[Target, typer.Option(help="What is fuzzed; all for hypothesis alone.")],
    first_seed: Annotated[int, typer.Option("--seed", help="Repeats a run.")] = 1,
) -> None:
    """Fuzzes TARGET and prints what became of the inputs."""
    if engine is Engine.ATHERIS and target is Target.ALL:
        raise typer.BadParameter("atheris knows no end: give it one target", param_hint="--target")
    if engine is Engine.ATHERIS:
        with_atheris(target, inputs, first_seed)
    for name in load_targets() if target is Target.ALL else [target]:
        with_hypothesis(name, inputs, first_seed)


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)  # the input that did it stands in the plain traceback's notes
    app.command()(main)
    app()
