"""Real children that use too much of the machine: held by a cgroup, and by the watchdog alone.

Every rogue is bounded by itself, too: should a limit not hold, it takes 1 GB or starts 200 processes, and sleeps.
"""

import contextlib
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from actors import cgroup, hierarchies, limits
from actors.cgroup_files import prefix_of, remove_leftovers
from actors.footprint import Hidden, Process, Tree, folder_use
from actors.hierarchies import Hierarchy
from actors.limits import PERIOD_S, Watchdog, machine_memory, resolved
from actors.messages import Limits, SandboxSpec, Status
from actors.sandbox import Child, ChildFailure, tier_problem
from actors.tiers import Device

without_bwrap = pytest.mark.skipif(tier_problem("bwrap") is not None, reason=str(tier_problem("bwrap")))
held_by = {limit for hierarchy in cgroup.usable() for limit in hierarchy.controllers}
without_cgroup = pytest.mark.skipif(not held_by >= {"memory", "pids"}, reason="no cgroups can be made here")
HOLDS = [pytest.param("cgroup", marks=without_cgroup), "watchdog"]

SMALL = Limits(load_s=60, memory_bytes=300_000_000, processes=64, scratch_bytes=50_000_000)
ROOMY = replace(SMALL, scratch_bytes=10**9)
CROWD = replace(SMALL, memory_bytes=2 * 10**9)  # 64 small processes may use more than 300 MB
MEMORY, PROCESSES, SCRATCH = "limits.memory_bytes", "limits.processes", "limits.scratch_bytes"
REST = "time.sleep(30)\n"
START = "import mmap, os, resource, signal, threading, time\n"
FORKS = """
for _ in range({count}):
    if os.fork() == 0:
        {each}
        time.sleep(30)
        os._exit(0)
"""
ORPHANS = """
for _ in range(100):
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(30)
        os._exit(0)
    os.wait()
"""
FILL = """
try:
    with open({path!r}, "wb", buffering=0) as file:
        for _ in range({mb}):
            file.write(bytes(10**6))
except OSError:
    pass
"""

# What each tier promises, with and without a cgroup: source, limits, and the limit that ends it.
ROGUES = {
    "memory in one process": ("held = [os.urandom(1) * 10**7 for _ in range(100)]\n" + REST, SMALL, MEMORY),
    "memory in many processes": (FORKS.format(count=8, each="held = b'x' * 60_000_000") + REST, SMALL, MEMORY),
    "a file in memory without a name": (
        "fd = os.memfd_create('x')\nfor _ in range(100): os.write(fd, bytes(10**7))\n" + REST,
        SMALL,
        MEMORY,
    ),
    "shared memory": (
        "held = mmap.mmap(-1, 10**9)\nfor _ in range(100): held.write(bytes(10**7))\n" + REST,
        SMALL,
        MEMORY,
    ),
    "processes": (FORKS.format(count=200, each="pass") + REST, CROWD, PROCESSES),
    "processes that start processes": (
        "try:\n    for _ in range(8): os.fork()\nexcept OSError: pass\n" + REST,
        CROWD,
        PROCESSES,
    ),
    "orphans": (ORPHANS + REST, CROWD, PROCESSES),
    "threads": (
        "for _ in range(200): threading.Thread(target=time.sleep, args=(30,), daemon=True).start()\n" + REST,
        CROWD,
        PROCESSES,
    ),
    "the CPU": ("while True: pass", replace(SMALL, cpu_s=0.5), "0.5 s of the CPU in one process (limits.cpu_s)"),
    "its working folder": (FILL.format(path="x", mb=100) + REST, SMALL, SCRATCH),
}
ONLY_BWRAP = {
    "/dev/shm": (FILL.format(path="/dev/shm/x", mb=100) + REST, SMALL, "filled /dev/shm with 50,000,000 bytes"),
    "/tmp": (FILL.format(path="/tmp/x", mb=100) + REST, SMALL, "filled /tmp with 50,000,000 bytes"),
    "files in memory": (FILL.format(path="/dev/shm/x", mb=600) + REST, ROOMY, MEMORY),
}
ONLY_DISK = {
    "a deleted file": (
        "file = open('x', 'wb', buffering=0)\nos.unlink('x')\nfor _ in range(100): file.write(bytes(10**6))\n" + REST,
        SMALL,
        SCRATCH,
    ),
    "folders in folders": (
        "for _ in range(3000):\n    os.mkdir('d')\n    os.chdir('d')\n" + REST,
        SMALL,
        "its working folder has folders more than 64 levels deep",
    ),
}
CASES = [
    *(pytest.param("bwrap", name, *rogue, marks=without_bwrap) for name, rogue in {**ROGUES, **ONLY_BWRAP}.items()),
    *(("process", name, *rogue) for name, rogue in {**ROGUES, **ONLY_DISK}.items()),
]


@pytest.fixture(params=HOLDS)
def hold(request, monkeypatch):
    """What holds the child: the kernel and the watchdog, or the watchdog alone."""
    if request.param == "watchdog":
        monkeypatch.setattr(limits, "make_cgroup", lambda *_: None)
    return request.param


def load(tier: str, source: str, within: Limits, marker: str = "") -> ChildFailure:
    """How a child ends that loads this file, without the imports of a real one."""
    spec = SandboxSpec((tier,), {}, threads=1, preimports=(), environment={"MARKER": marker})
    with Child(tier, spec, Device("cpu"), within) as child, pytest.raises(ChildFailure) as caught:
        child.wait_ready()
        header = {"path": "/nowhere/candidate.py", "call": {}, "steps": None}
        child.ask("load", "load_s", header, (START + source).encode())
    return caught.value


def carriers(marker: str) -> list[int]:
    """The processes with a mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if marker in process.environ().values():
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def left_of(marker: str) -> list[int]:
    """The processes with a mark that are still there two seconds later."""
    deadline = time.monotonic() + 2
    while (found := carriers(marker)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def cgroups_of_this_process() -> list[Path]:
    return [path for found in cgroup.usable() for path in found.parent.glob(f"{prefix_of(os.getpid())}*")]


@pytest.mark.parametrize(("tier", "name", "source", "within", "said"), CASES)
def test_too_much_of_the_machine_ends_as_a_limit_and_leaves_nothing(hold, tier, name, source, within, said):
    marker = f"diffharness-test-{os.getpid()}-{time.monotonic_ns()}"
    failure = load(tier, source, within, marker)
    assert failure.status is Status.RESOURCE_LIMIT, failure
    assert said in failure.detail
    if said.startswith("limits."):
        assert f"{getattr(within, said.removeprefix('limits.')):,} " in failure.detail
    assert not left_of(marker)
    assert not cgroups_of_this_process()


def test_a_folder_that_takes_long_to_look_at_is_looked_at_again_all_the_same(monkeypatch):
    monkeypatch.setattr(limits, "SHARE", 1e-9)
    monkeypatch.setattr(limits, "LONGEST_DISK_PERIOD_S", 0.5)
    failure = load("process", "time.sleep(1)\n" + FILL.format(path="x", mb=100) + REST, SMALL)
    assert (failure.status, SCRATCH in failure.detail) == (Status.RESOURCE_LIMIT, True), failure


def test_what_a_look_missed_is_ended_all_the_same(monkeypatch):
    """A process that is started while the processes are listed, say. Its warden has it, and must not be killed."""
    monkeypatch.setattr(limits, "make_cgroup", lambda *_: None)
    members, beyond = Tree.members, []

    def missing_some(tree: Tree) -> list[Process]:
        """All of them until they are too many; from then on the two oldest."""
        found = members(tree)
        if len(found) >= CROWD.processes:
            beyond.append(found)
        return found if len(beyond) <= 1 else sorted(found, key=lambda process: process.started)[:2]

    monkeypatch.setattr(Tree, "members", missing_some)
    marker = f"diffharness-test-{os.getpid()}-{time.monotonic_ns()}"
    failure = load("process", FORKS.format(count=200, each="pass") + REST, CROWD, marker)
    assert PROCESSES in failure.detail
    assert not left_of(marker)


@pytest.mark.parametrize("tier", [pytest.param("bwrap", marks=without_bwrap), "process"])
def test_after_them_an_honest_child_works_within_the_same_limits(hold, tier):
    failure = load(tier, "time.sleep(0.5)", SMALL)
    assert failure.status is Status.NO_PIPELINE, "it was loaded, and has nothing but this sleep in it"


LIMITED = {
    "a file grows too large": (
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))\nopen('x', 'wb').write(bytes(2 * 10**6))",
        Status.RESOURCE_LIMIT,
        "File too large (limits.file_bytes: 17,179,869,184 bytes",
    ),
    "a file grows too large, by signal": (
        "os.kill(os.getpid(), signal.SIGXFSZ)",
        Status.RESOURCE_LIMIT,
        "more than 17,179,869,184 bytes in one file (limits.file_bytes)",
    ),
    "no CPU time is left": (
        "os.kill(os.getpid(), signal.SIGXCPU)",
        Status.RESOURCE_LIMIT,
        "more than 86,400 s of the CPU in one process (limits.cpu_s)",
    ),
    "no descriptor is left, which is its own error": (
        "resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))\nheld = [open('/dev/null') for _ in range(60)]",
        Status.LOAD_ERROR,
        "Too many open files",
    ),
}


@pytest.mark.parametrize("name", LIMITED)
def test_limits_that_a_process_is_told_of_itself(name):
    source, status, said = LIMITED[name]
    reset = "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n" if "signal" in name else ""
    failure = load("process", reset + source, replace(SMALL, scratch_bytes=8 * 2**30))
    assert failure.status is status
    assert said in failure.detail


@without_cgroup
def test_a_refused_process_counts_also_where_the_file_goes_on_as_if_nothing_had_happened():
    source = FORKS.format(count=100, each="pass").replace(
        "    if os.fork()", "    try: pid = os.fork()\n    except OSError: break\n    if pid"
    )
    failure = load("process", source, CROWD)
    assert (failure.status, PROCESSES in failure.detail) == (Status.RESOURCE_LIMIT, True)


def test_a_child_that_stands_still_is_not_looked_at(monkeypatch):
    looks = []
    monkeypatch.setattr(Watchdog, "look", lambda self: looks.append(time.monotonic()))
    spec = SandboxSpec(("process",), {}, threads=1, preimports=())
    with Child("process", spec, Device("cpu"), SMALL) as child:
        child.wait_ready()
        time.sleep(3 * PERIOD_S)
        assert not looks
        with child._watchdog.on_guard():
            time.sleep(5 * PERIOD_S)
        assert 2 <= len(looks) <= 5
        after = len(looks)
        time.sleep(3 * PERIOD_S)
        assert len(looks) == after


RAISE = """
import subprocess
script = "mkdir /tmp/c && mount -t cgroup -o pids x /tmp/c && mkdir /tmp/c/own && echo 9999 > /tmp/c/pids.max"
subprocess.run(["unshare", "-UrCm", "sh", "-c", script + " && echo 0 > /tmp/c/own/cgroup.procs; sleep 30 & "])
"""


@without_cgroup
@without_bwrap
def test_a_child_cannot_raise_its_own_limits_in_namespaces_of_its_own():
    failure = load("bwrap", RAISE + FORKS.format(count=200, each="pass") + REST, CROWD)
    assert (failure.status, PROCESSES in failure.detail) == (Status.RESOURCE_LIMIT, True), failure
    assert not cgroups_of_this_process()


@without_cgroup
def test_what_a_killed_supervisor_left_is_removed():
    ended = os.getpid() + 1
    while Path("/proc", str(ended)).exists():
        ended += 1
    folders = [found.parent / f"{prefix_of(ended)}0000" for found in cgroup.usable()]
    mine = [found.parent / f"{prefix_of(os.getpid())}0000" for found in cgroup.usable()]
    for folder in (*folders, *mine):
        folder.mkdir()
    remove_leftovers(found.parent for found in cgroup.usable())
    assert not any(folder.exists() for folder in folders)
    assert all(folder.exists() for folder in mine)
    for folder in mine:
        folder.rmdir()


def fake_version_2(folder: Path, monkeypatch, own: str = "/user/app", enabled: str = "cpu memory pids") -> Path:
    """The files of a machine with cgroups of version 2 alone."""
    (folder / "user" / "app").mkdir(parents=True)
    for name, controllers in (("user", enabled), ("user/app", "")):
        (folder / name / "cgroup.subtree_control").write_text(controllers)
    (folder / "user" / "memory.max").write_text("5000000000\n")
    (folder / "user" / "app" / "memory.max").write_text("max\n")
    for name, text in (
        ("own", f"0::{own}\n"),
        ("mounts", f"31 23 0:28 / {folder} rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"),
    ):
        (folder / name).write_text(text)
        monkeypatch.setattr(hierarchies, name.upper(), folder / name)
    return folder / "user"


class TestVersion2:
    def test_a_cgroup_is_made_beside_the_own_one_which_holds_processes(self, tmp_path, monkeypatch):
        parent = fake_version_2(tmp_path, monkeypatch)
        monkeypatch.setattr(hierarchies, "write", self.refuses_to_hand_down)
        first, *others = hierarchies.hierarchies()
        assert first == Hierarchy(parent, 2, ("memory", "pids", "freezer", "cpuacct"))
        assert {found.controllers for found in others} == {("freezer", "cpuacct")}

    def test_none_has_limits_where_the_controllers_are_off(self, tmp_path, monkeypatch):
        parent = fake_version_2(tmp_path, monkeypatch, enabled="cpu pids")
        monkeypatch.setattr(hierarchies, "write", self.refuses_to_hand_down)
        (parent / "cgroup.procs").touch()
        places = [Hierarchy(folder, 2, ("freezer", "cpuacct")) for folder in (parent / "app", parent)]
        assert list(hierarchies.hierarchies()) == places, "freezing needs no controller"

    def test_the_containers_own_limit_is_the_machines_memory(self, tmp_path, monkeypatch):
        fake_version_2(tmp_path, monkeypatch)
        assert hierarchies.memory_limit() == 5_000_000_000
        assert machine_memory() == 5_000_000_000

    def test_limits_are_written_and_what_the_kernel_counts_is_read(self, tmp_path, monkeypatch):
        kernel = {"pids.events": "max 0\n", "memory.events": "low 0\noom 0\noom_kill 0\n"}
        kernel |= dict.fromkeys(("memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cgroup.procs"), "")
        mkdir = Path.mkdir

        def mkdir_as_the_kernel_does(path: Path) -> None:
            mkdir(path)
            for name, text in kernel.items():
                (path / name).write_text(text)

        monkeypatch.setattr(Path, "mkdir", mkdir_as_the_kernel_does)
        monkeypatch.setattr(cgroup, "remove", lambda folder: None)
        made = cgroup.Cgroup((Hierarchy(tmp_path, 2, ("memory", "pids")),), 10**9, 64)
        (folder,) = tmp_path.iterdir()
        written = {
            name: (folder / name).read_text()
            for name in ("memory.max", "memory.swap.max", "memory.oom.group", "pids.max")
        }
        assert written == {
            "memory.max": "1000000000",
            "memory.swap.max": "0",
            "memory.oom.group": "1",
            "pids.max": "64",
        }
        assert made.holds == {"memory_bytes", "processes"}
        assert made.breached() is None
        (folder / "pids.events").write_text("max 3\n")
        assert made.breached() == "processes"
        (folder / "memory.events").write_text("oom 1\noom_kill 2\n")
        assert made.breached() == "memory_bytes"
        made.end()

    @staticmethod
    def refuses_to_hand_down(path: Path, value: object) -> None:
        raise OSError(16, "Device or resource busy")


def test_without_a_number_a_child_gets_a_third_of_its_actors_share():
    assert resolved(Limits(), actors=4).memory_bytes == machine_memory() // 4 // 3
    assert resolved(Limits(memory_bytes=2**30), actors=4).memory_bytes == 2**30
    assert machine_memory() <= psutil.virtual_memory().total


class TestAFolderOnTheDisk:
    def test_links_are_not_followed_and_holes_take_nothing(self, tmp_path):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "up").symlink_to("/usr")
        with (tmp_path / "a" / "hole").open("wb") as file:
            file.truncate(10**9)
        (tmp_path / "b").write_bytes(bytes(100_000))
        assert 100_000 <= folder_use(str(tmp_path), 10**9) < 200_000

    def test_a_file_that_goes_away_hides_no_other(self, tmp_path, monkeypatch):
        scandir = os.scandir

        @contextlib.contextmanager
        def listed(path):
            with scandir(path) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            (tmp_path / "a").unlink()
            yield iter(entries)

        (tmp_path / "a").touch()
        (tmp_path / "b").write_bytes(bytes(100_000))
        monkeypatch.setattr(os, "scandir", listed)
        assert folder_use(str(tmp_path), 10**9) >= 100_000

    def test_too_many_files_are_too_much(self, tmp_path, monkeypatch):
        monkeypatch.setattr("actors.footprint.MOST_ENTRIES", 10)
        for number in range(11):
            (tmp_path / str(number)).touch()
        with pytest.raises(Hidden, match="more than 10 files"):
            folder_use(str(tmp_path), 10**9)

    @pytest.mark.parametrize(("name", "levels", "why"), [("d" * 250, 20, "too long"), ("d", 65, "more than 64 levels")])
    def test_what_lies_too_deep_to_be_counted_is_too_much(self, tmp_path, name, levels, why):
        descriptor = os.open(tmp_path, os.O_RDONLY)
        for _ in range(levels):
            os.mkdir(name, dir_fd=descriptor)
            inner = os.open(name, os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        os.close(descriptor)
        with pytest.raises(Hidden, match=why):
            folder_use(str(tmp_path), 10**9)


def test_a_tree_has_its_descendants_and_nobody_else():
    child = psutil.Popen(["sh", "-c", "sleep 30 & sleep 30 & wait"])
    try:
        deadline = time.monotonic() + 10
        while len(child.children()) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        tree = Tree(child.pid)
        expected = {child.pid, *(one.pid for one in child.children())}
        assert {process.pid for process in tree.members()} == expected
        assert {process.pid for process in tree.members()} == expected, "the second look skips what it knows"
        assert os.getpid() not in expected
    finally:
        for one in (*child.children(), child):
            os.kill(one.pid, signal.SIGKILL)
        child.wait()
    assert tree.members() == []
