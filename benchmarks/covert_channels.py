"""What two children that run at one time can say to each other through what both are shown, in bits a second.

    python benchmarks/covert_channels.py
    python benchmarks/covert_channels.py --tier landlock --seconds 2

One child writes bits that the other one does not know, and the other says what it read. By locks and by the CPU they
write a bit in each slot of a fixed length, by the clock that both have; a channel's rate is that of the shortest slot
of which at most 5% of the bits were wrong. By the page cache one writes a bit for each page that nobody had in memory:
it reads the page or does not, and the other then takes the time of reading it. Such a page carries one bit, until the
machine forgets it; the rate is that of writing and reading.
"""

from __future__ import annotations

import ast
import os
import random
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from actors.bwrap import private_inodes
from actors.messages import Limits, SandboxSpec
from actors.sandbox import Child, ChildFailure, tier_problem
from actors.tiers import TIERS, Device, visible_paths

SLOTS_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
MOST_WRONG = 0.05
MOST_BITS = 800  # an error message of a child carries them
PAGES = 512
APART = 128 * 1024  # bytes from one page to the next: what is read ahead stays below
HEAD_START_S = 2.0
LIMITS = Limits(start_s=120, load_s=300)
LOCKED = ("library", "/dev/null", "/proc/sys/kernel/ostype", "/sys/kernel/uevent_seqnum")

SIDES = f"""
import fcntl, os, time

def waited(start, slot, number, share=0.0):
    while time.time() < start + (number + share) * slot:
        pass

def lock(path, start, slot, bits):
    fd = os.open(path, os.O_RDONLY)
    for number, bit in enumerate(bits):
        waited(start, slot, number)
        fcntl.flock(fd, fcntl.LOCK_EX if bit == "1" else fcntl.LOCK_UN)
    waited(start, slot, len(bits))

def try_lock(path, start, slot, count):
    fd, found = os.open(path, os.O_RDONLY), ""
    for number in range(count):
        waited(start, slot, number, 0.5)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(fd, fcntl.LOCK_UN)
            found += "0"
        except BlockingIOError:
            found += "1"
    return found

def spin(path, start, slot, bits):
    waited(start, slot, 0)
    for number, bit in enumerate(bits, 1):
        waited(start, slot, number) if bit == "1" else time.sleep(max(0, start + number * slot - time.time()))

def count(path, start, slot, count):
    found = []
    waited(start, slot, 0)
    for number in range(1, count + 1):
        turns = 0
        while time.time() < start + number * slot:
            turns += 1
        found.append(turns)
    ordered = sorted(found)
    middle = (ordered[count // 10] + ordered[-count // 10 - 1]) / 2
    return "".join("1" if turns < middle else "0" for turns in found)

def read_pages(path, start, slot, bits):
    fd, begun = os.open(path, os.O_RDONLY), time.perf_counter()
    for number, bit in enumerate(bits):
        if bit == "1":
            os.pread(fd, 1, number * {APART})
    return time.perf_counter() - begun

def time_pages(path, start, slot, count):
    fd, took, begun = os.open(path, os.O_RDONLY), [], time.perf_counter()
    for number in range(count):
        since = time.perf_counter()
        os.pread(fd, 1, number * {APART})
        took.append(time.perf_counter() - since)
    seconds = time.perf_counter() - begun
    ordered = sorted(took)
    middle = (ordered[count // 10] * ordered[-count // 10]) ** 0.5
    return "".join("1" if one < middle else "0" for one in took), seconds
"""


def main(
    tier: Annotated[str, typer.Option(help=f"One of {', '.join(TIERS)}.")] = "bwrap",
    seconds: Annotated[float, typer.Option(help="How long a channel is tried at each length of a slot.")] = 2.0,
) -> None:
    """Prints each channel's rate."""
    if (problem := tier_problem(tier)) is not None:
        raise typer.BadParameter(f"{tier}: {problem}", param_hint="--tier")
    with shown_file() as library:
        spec = SandboxSpec((tier,), {}, (str(library.parent),), threads=1, preimports=())
        shared = private_inodes(visible_paths(spec)) if tier == "bwrap" else "this tier has none"
        table = Table("channel", "bits a second", "slot", "wrong", title=f"{tier}; shared inodes: {shared or 'none'}")
        for path in LOCKED:
            place = str(library) if path == "library" else path
            table.add_row(f"flock on {path}", *fastest(spec, place, ("lock", "try_lock"), seconds))
        table.add_row("pages of a file", *pages(spec, library))
        table.add_row("the CPU that both are on", *fastest(spec, "", ("spin", "count"), seconds, one_cpu=True))
    Console().print(table)


@contextmanager
def shown_file() -> Iterator[Path]:
    """A file that both children may read, of which the machine has nothing in memory."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        path = Path(folder, "library")
        path.write_bytes(random.Random(0).randbytes(PAGES * APART))
        path.parent.chmod(0o755)
        forget(path)
        yield path


def forget(path: Path) -> None:
    """Has the machine throw a file out of memory."""
    fd = os.open(path, os.O_RDWR)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def fastest(
    spec: SandboxSpec, path: str, sides: tuple[str, str], seconds: float, one_cpu: bool = False
) -> tuple[str, str, str]:
    """The rate, the slot and the share of wrong bits, as text; the last ones where no slot was long enough."""
    wrong = 1.0
    for slot in SLOTS_S:
        bits = drawn(min(MOST_BITS, int(seconds / slot)))
        try:
            read = of_both(spec, path, sides, slot, bits, one_cpu)[1]
        except ChildFailure as failure:
            return "0", "", failure.detail.splitlines()[0][:60]
        wrong = sum(one != other for one, other in zip(bits, read, strict=True)) / len(bits)
        if wrong <= MOST_WRONG:
            return f"{1 / slot:,.0f}", f"{slot * 1000:g} ms", f"{wrong:.1%}"
    return "none", f"{SLOTS_S[-1] * 1000:g} ms", f"{wrong:.1%}"


def pages(spec: SandboxSpec, library: Path) -> tuple[str, str, str]:
    """The same of the page cache: one after the other, not at one time."""
    bits = drawn(PAGES)
    forget(library)
    write_s = answer(spec, f"read_pages({str(library)!r}, 0, 0, {bits!r})")
    read, read_s = answer(spec, f"time_pages({str(library)!r}, 0, 0, {len(bits)})")
    wrong = sum(one != other for one, other in zip(bits, read, strict=True)) / len(bits)
    rate = f"{len(bits) / (write_s + read_s):,.0f}"
    return rate if wrong <= MOST_WRONG else "none", "once a page", f"{wrong:.1%}"


def drawn(count: int) -> str:
    """So many bits, as text."""
    return "".join(random.choice("01") for _ in range(count))


def of_both(
    spec: SandboxSpec, path: str, sides: tuple[str, str], slot: float, bits: str, one_cpu: bool
) -> tuple[object, str]:
    """What the writer and the reader said. Raises ChildFailure where one of them could not."""
    cpus = os.sched_getaffinity(0)
    if one_cpu:
        os.sched_setaffinity(0, [min(cpus)])
    try:
        with started(spec) as writer, started(spec) as reader, ThreadPoolExecutor(2) as pool:
            start = time.time() + HEAD_START_S
            writes = pool.submit(said, writer, f"{sides[0]}({path!r}, {start}, {slot}, {bits!r})")
            reads = pool.submit(said, reader, f"{sides[1]}({path!r}, {start}, {slot}, {len(bits)})")
            return writes.result(), str(reads.result())
    finally:
        os.sched_setaffinity(0, cpus)


@contextmanager
def started(spec: SandboxSpec) -> Iterator[Child]:
    """A child that waits to be asked."""
    with Child(spec.tiers[0], spec, Device("cpu"), LIMITS) as child:
        child.wait_ready()
        yield child


def answer(spec: SandboxSpec, expression: str) -> Any:
    """An expression's value in a child of its own."""
    with started(spec) as child:
        return said(child, expression)


def said(child: Child, expression: str) -> Any:
    """An expression's value in a child, which tells it in an error. Raises ChildFailure."""
    source = f"{SIDES}\nraise ValueError('SAID' + repr({expression}))"
    try:
        child.ask("load", "load_s", {"path": "/nowhere/x.py", "call": {}, "steps": None}, source.encode())
    except ChildFailure as failure:
        _, found, value = failure.detail.partition("SAID")
        if not found:
            raise
        return ast.literal_eval(value)
    raise AssertionError("a model file that raises was loaded")


if __name__ == "__main__":
    typer.run(main)
