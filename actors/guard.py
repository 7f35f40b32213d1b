"""Ends the frozen children of a supervisor that was killed: a small process beside it, where cgroups are of version 1.

    python -S -m actors.guard PREFIX FOLDER ...

What a freezer of version 1 has frozen does not even end by SIGKILL before somebody thaws it, and a supervisor that is
killed cannot. The guard waits for the end of its standard input, whose other end the supervisor alone has open, and
ends and removes then what is left in the cgroups of that supervisor (`PREFIX`) in the given folders. It has no parent
to be ended with, is in a session of its own, and outside of all that is frozen.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from actors.cgroup_files import end_of

ROOT = Path(__file__).resolve().parents[1]  # where the package `actors` lies
TRY_S = 60.0
IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

_starting = threading.Lock()
# Whose it is, what is open while that process lives, and what is hung up once the guard does not.
_running: tuple[int, int, int] | None = None


def require_guard(prefix: str, parents: Sequence[Path]) -> None:
    """Has a guard run beside this process until its end. Raises OSError where none can be started."""
    global _running
    with _starting:
        if _running is not None:
            owner, *open_here = _running
            if owner == os.getpid() and not _is_hung_up(open_here[1]):
                return
            for fd in open_here:  # of a guard that is gone, or of the process that this one was forked from
                os.close(fd)
            _running = None
        held, leash = os.pipe()
        life, living = os.pipe()
        try:
            command = [sys.executable, "-S", "-m", "actors.guard", prefix, *map(str, parents)]
            environment = {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
            subprocess.run(
                command,
                stdin=held,
                stdout=living,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd="/",
                start_new_session=True,
                check=False,
            )
        finally:
            os.close(held)
            os.close(living)
        _running = os.getpid(), leash, life
        if _is_hung_up(life):
            raise OSError("no guard could be started for frozen children")


def _is_hung_up(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, 0)  # a hang-up is always told
    return bool(poll.poll(0))


def main() -> None:
    """Leaves its parent, waits for the supervisor's end, and ends what that left."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    if os.fork():  # what ends all children of a supervisor, as Ray does, must not end this
        os._exit(0)
    prefix, *folders = sys.argv[1:]
    os.read(0, 1)
    deadline = time.monotonic() + TRY_S
    while end_of(prefix, [Path(folder) for folder in folders]) and time.monotonic() < deadline:
        time.sleep(0.01)


if __name__ == "__main__":
    main()
