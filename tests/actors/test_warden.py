"""A warden alone: what it ends, when, and with what status. Every process here ends by itself within a minute."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from actors import landlock, warden

# Leaves its session, is forked twice, and says its number: what a plain kill of a process group misses.
ESCAPES = """
import os, sys, time
told, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        os.write(tell, b".")
        time.sleep(60)
    os._exit(0)
os.wait()
os.read(told, 1)
"""
NOWHERE = "/nowhere/scratch"
# Starts a warden, says its number, and stays.
SUPERVISOR = """
import os, subprocess, sys, time
held, leash = os.pipe()
command = [sys.executable, "-S", "-m", "actors.warden", str(held), sys.argv[1], "/bin/sleep", "60"]
print(subprocess.Popen(command, pass_fds=(held,)).pid, flush=True)
time.sleep(60)
"""
FENCES = [
    pytest.param(
        True,
        id="fenced",
        marks=pytest.mark.skipif(not landlock.keeps_signals(), reason="Landlock keeps no signals in before Linux 6.12"),
    ),
    pytest.param(False, id="unfenced"),
]


@pytest.fixture(params=FENCES)
def start(request):
    """Starts a warden over Python code: its process, and the end of the leash that holds it."""
    started = []

    def begin(code: str) -> tuple[subprocess.Popen, int]:
        held, leash = os.pipe()
        main = "import sys; from actors import warden; "
        main += "" if request.param else "warden.fence = lambda supervisor: False; "
        command = [sys.executable, "-c", f"{main}warden.main()", str(held), NOWHERE, sys.executable, "-S"]
        command += ["-c", code]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=(held,))
        os.close(held)
        started.append((process, leash))
        return process, leash

    yield begin
    for process, leash in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()
        try:
            os.close(leash)
        except OSError:
            continue  # the test has closed it


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("ending", "code"), [("raise SystemExit(7)", 7), ("os.kill(os.getpid(), 9)", 128 + 9), ("pass", 0)]
)
def test_it_ends_with_its_command_and_with_its_status(start, ending, code):
    process, _ = start(f"import os\n{ending}")
    assert process.wait(timeout=30) == code


def test_what_left_the_session_ends_with_the_command(start):
    process, _ = start(ESCAPES)
    escaped = int(process.stdout.readline())
    assert process.wait(timeout=30) == 0
    assert gone(escaped)


def test_all_ends_within_two_seconds_of_the_leash(start):
    process, leash = start(f"{ESCAPES}\ntime.sleep(60)")
    escaped = int(process.stdout.readline())
    warden.let_go(leash)
    assert process.wait(timeout=2) == 128 + signal.SIGKILL
    assert gone(escaped)


def test_stopped_processes_end_too(start):
    process, leash = start(f"{ESCAPES}\ntime.sleep(60)")
    escaped = int(process.stdout.readline())
    for pid in (escaped, *(child.pid for child in psutil.Process(process.pid).children())):
        os.kill(pid, signal.SIGSTOP)
    warden.let_go(leash)
    process.wait(timeout=2)
    assert gone(escaped)


def test_what_it_adopts_does_not_stay_as_a_zombie(start):
    process, _ = start(
        "import os, time\n"
        "for _ in range(20):\n"
        "    if os.fork() == 0:\n"
        "        if os.fork() == 0: os._exit(0)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "print('done', flush=True)\ntime.sleep(60)"
    )
    process.stdout.readline()
    deadline = time.monotonic() + 10
    while len(psutil.Process(process.pid).children(recursive=True)) > 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(psutil.Process(process.pid).children(recursive=True)) == 1


@pytest.mark.skipif(not landlock.keeps_signals(), reason="Landlock keeps no signals in before Linux 6.12")
def test_what_forks_faster_than_it_can_be_listed_ends_at_one_stroke():
    # Each process forks the next one and ends: whoever lists them kills yesterday's. For five seconds at most.
    hopping = (
        "import os, time\nuntil = time.monotonic() + 5\nprint('hopping', flush=True)\n"
        "os.fork()\nwhile time.monotonic() < until:\n    if os.fork(): os._exit(0)\n"
    )
    held, leash = os.pipe()
    command = [sys.executable, "-S", "-m", "actors.warden", str(held), NOWHERE, sys.executable, "-S", "-c"]
    waiting = f"import os, time\nif os.fork() == 0: exec({hopping!r})\nelse: time.sleep(60)"
    process = subprocess.Popen([*command, waiting], stdout=subprocess.PIPE, text=True, pass_fds=(held,))
    with process:
        os.close(held)
        process.stdout.readline()
        warden.let_go(leash)
        start = time.monotonic()
        process.wait(timeout=30)
        assert time.monotonic() - start < 2


def test_no_fence_is_believed_that_was_not_tried():
    assert not warden.fence(2**22 + 1), "nobody to try it on"
    assert warden.may_signal(os.getppid()), "and this process has not been fenced in"


def test_the_working_folder_goes_too_where_the_supervisor_was_killed(tmp_path):
    scratch = tmp_path / "scratch"
    (scratch / "deep").mkdir(parents=True)
    (scratch / "deep" / "file").touch()
    (scratch / "deep").chmod(0)
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISOR, scratch], stdout=subprocess.PIPE, text=True)
    pid = int(supervisor.stdout.readline())
    while len(psutil.Process(pid).children()) == 0:
        time.sleep(0.01)
    assert scratch.exists()
    supervisor.kill()
    supervisor.wait()
    deadline = time.monotonic() + 10
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gone(pid)
    assert not scratch.exists()


@pytest.mark.parametrize(("end", "abandoned"), [(os.close, True), (warden.let_go, False), (lambda leash: None, False)])
def test_a_leash_that_nobody_let_go_of_tells_of_the_supervisors_end(end, abandoned):
    """Not by whose child the warden is: an ending supervisor's files are closed before its children are given away."""
    held, leash = os.pipe()
    end(leash)
    assert warden.is_abandoned(held) is abandoned


def test_letting_go_of_a_warden_that_has_ended_is_no_error():
    held, leash = os.pipe()
    os.close(held)
    warden.let_go(leash)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(leash)
