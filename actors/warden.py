"""Ends all that a child started, where no PID namespace does: a small process between a supervisor and its child.

    python -S -m actors.warden LEASH_FD FOLDER COMMAND ...

It starts the command in a session of its own and adopts whatever loses its parent below it (a subreaper), so a process
that left the child's session or was forked twice stays within reach. When the command ends, or the leash's other end is
closed (`let_go`, or by the kernel at the supervisor's end, SIGKILL included), it kills what is left below it until
nothing is, and ends with the command's exit status, 128 + its number for a signal, as a shell does. Where the
supervisor has ended, it also removes the command's working folder, which nobody else would.

Where Landlock keeps signals in, it puts itself and all below it into a domain of their own: a signal to everybody then
reaches exactly what is below it, at one moment, so that nothing can fork away from it. The command puts itself into a
domain below that one, from where it cannot signal its warden.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Container

from actors import landlock

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
PAUSE_S = 0.002
ASKING_TO_END = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def main() -> None:
    """Starts the command, waits, ends everything, and ends."""
    leash, folder, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    supervisor = os.getppid()
    os.set_inheritable(leash, False)
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("the kernel knows no PR_SET_CHILD_SUBREAPER")
    for number in ASKING_TO_END:
        signal.signal(number, signal.SIG_IGN)
    fenced = fence(supervisor)
    wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    usual = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    child = os.posix_spawn(command[0], command, os.environ, setsid=True, setsigdef=usual)
    close_all_but({0, 1, 2, leash, wake, waker})
    status = wait_for_either(child, leash, wake)
    end_all(supervisor if fenced else None)
    if is_abandoned(leash):
        os.chdir("/")
        remove_folder(folder)
    sys.stdout.flush()
    os._exit(status if status >= 0 else 128 - status)


def fence(supervisor: int) -> bool:
    """Puts this process and all that it will start into a Landlock domain of their own; whether that keeps signals in.

    Tried on the supervisor: it could be signalled before and cannot be afterwards.
    """
    if not landlock.keeps_signals() or not may_signal(supervisor):
        return False
    landlock.keep_signals()
    return not may_signal(supervisor)


def may_signal(pid: int) -> bool:
    """Whether the process is there and takes signals from this one."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def close_all_but(kept: Container[int]) -> None:
    """Closes the descriptors that were only passed on: who waits for their end shall not wait for this process."""
    for fd in [int(entry.name) for entry in os.scandir("/proc/self/fd")]:
        if fd not in kept:
            with contextlib.suppress(OSError):  # the one that the folder was listed by
                os.close(fd)


def wait_for_either(child: int, leash: int, wake: int) -> int:
    """Waits for the end of the child or of the supervisor, and reaps meanwhile what was adopted.

    Returns the child's exit code, negative for a signal; that of SIGKILL where the supervisor was first.
    """
    poll = select.poll()
    poll.register(leash, 0)  # a hang-up is always told
    poll.register(wake, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if leash in ready:
            return -signal.SIGKILL
        os.read(wake, 4096)
        while (ended := reap(os.WNOHANG)) is not None:
            pid, status = ended
            if pid == child:
                return os.waitstatus_to_exitcode(status)


def let_go(leash: int) -> None:
    """For the supervisor, which lives on: has the warden at the leash's other end kill everything, and closes it."""
    with contextlib.suppress(BrokenPipeError):  # the warden has ended
        os.write(leash, b".")
    os.close(leash)


def is_abandoned(leash: int) -> bool:
    """Whether the leash's other end was closed by the kernel, and not by `let_go`.

    The supervisor may still be this process's parent then: what an ending process has open is closed first.
    """
    os.set_blocking(leash, False)
    try:
        return not os.read(leash, 1)
    except BlockingIOError:
        return False


def reap(options: int) -> tuple[int, int] | None:
    """One process below this one that has ended, with its status; None where there is none (yet)."""
    try:
        pid, status = os.waitpid(-1, options)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def end_all(fenced_from: int | None) -> None:
    """Kills everything below this process until nothing is left.

    fenced_from: a process that no signal from here reaches, while one reaches all below; None where there is no fence.
    """
    while True:
        if fenced_from is not None and not may_signal(fenced_from):
            kill(-1)
            if reap(0) is None:
                return
        else:
            for pid in all_below():
                kill(pid)
            while reap(os.WNOHANG) is not None:
                pass
            if not all_below():
                return
            time.sleep(PAUSE_S)


def remove_folder(path: str) -> None:
    """Removes a command's working folder, whatever was made in it: too deep for Python's own functions, or closed."""
    import subprocess  # not above: a child's start would wait for it

    remove = ["rm", "-rf", "--", path]
    if subprocess.run(remove, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        subprocess.run(["chmod", "-R", "u+rwX", "--", path], stderr=subprocess.DEVNULL, check=False)
        subprocess.run(remove, stderr=subprocess.DEVNULL, check=False)


def kill(pid: int) -> None:
    """Kills a process if it is still there; -1: all that this one can reach."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def all_below() -> list[int]:
    """The processes that descend from this one. What loses its parent meanwhile becomes its child."""
    children: dict[int, list[int]] = {}
    for pid in [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]:
        with contextlib.suppress(OSError):  # it has just ended
            fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
            try:
                parent = os.read(fd, 4096).rpartition(b")")[2].split()[1]
            finally:
                os.close(fd)
            children.setdefault(int(parent), []).append(pid)
    found = [os.getpid()]
    for pid in found:  # which grows
        found += children.pop(pid, [])
    return found[1:]


if __name__ == "__main__":
    main()
