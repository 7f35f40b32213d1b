"""What each tier promises, tried from inside by what would break it."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from actors import landlock, tiers
from actors.messages import Limits
from actors.tiers import Device, Shown, bwrap_command, confinement, visible_paths
from tests.actors.inside import ALL_TIERS, CONFINING, QUICK, all_seen, seen, spec_for, tier_param

DENIED = ("FileNotFoundError", "PermissionError", "NotADirectoryError")


@pytest.fixture(params=CONFINING)
def tier(request):
    """The tiers that hold hostile code."""
    return request.param


@pytest.fixture(params=ALL_TIERS)
def any_tier(request):
    return request.param


class TestTheNetwork:
    """A real listener each, that a process outside reaches."""

    def test_tcp(self, tier):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
            assert socket.create_connection(address, 5).close() is None
            assert seen(tier, f"socket.create_connection({address!r}, 5)") in ("ConnectionRefusedError", *DENIED)

    def test_udp(self, tier):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.settimeout(0.2)
            send = f"socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', {listener.getsockname()!r})"
            seen(tier, send)
            with pytest.raises(TimeoutError):
                listener.recv(1)

    @pytest.mark.parametrize("place", ["path", "abstract"])
    @pytest.mark.parametrize("kind", ["stream", "datagram"])
    def test_unix_sockets(self, tier, tmp_path, place, kind):
        name = str(tmp_path / "ray.sock") if place == "path" else f"\0diffharness-{os.getpid()}-{kind}"
        family = f"socket.SOCK_{'STREAM' if kind == 'stream' else 'DGRAM'}"
        with socket.socket(socket.AF_UNIX, eval(family)) as listener:
            listener.bind(name)
            if kind == "stream":
                listener.listen()
            tried = f"socket.socket(socket.AF_UNIX, {family}).connect({name!r})"
            assert seen(tier, tried) in ("ConnectionRefusedError", *DENIED)
            tried = f"socket.socketpair(socket.AF_UNIX, {family})[0].sendto(b'x', {name!r})"
            assert seen(tier, tried) in ("ConnectionRefusedError", "OSError", *DENIED)

    def test_families_that_no_namespace_holds(self, tier):
        vsock, packet, alg, bluetooth = 40, 17, 38, 31
        tried = [f"socket.socket({family}, socket.SOCK_SEQPACKET)" for family in (vsock, packet, alg, bluetooth)]
        assert all_seen(tier, tried) == ["PermissionError"] * 4


class TestOtherProcesses:
    def test_they_are_not_seen(self, tier):
        ours = os.getpid()
        tried = [f"open('/proc/{ours}/{name}').read()" for name in ("cmdline", "environ", "status")]
        listed, *others = all_seen(tier, ["os.listdir('/proc')", *tried])
        assert listed in DENIED or str(ours) not in listed
        assert set(others) <= set(DENIED)

    def test_they_get_no_signal(self, tier):
        # 0 is no signal: whether one could be sent.
        assert seen(tier, f"os.kill({os.getpid()}, 0)") in ("ProcessLookupError", "PermissionError")

    def test_nor_does_what_ends_the_child(self, tier):
        if not landlock.keeps_signals():
            pytest.skip("tried with the kernel's own means in test_seccomp")
        # bwrap's first process takes no signal of its namespace that it does not handle.
        still_there = "[os.getppid(), os.kill(os.getppid(), 9) if TIER == 'bwrap' else os.kill(os.getppid(), 0)]"
        found = seen(tier, still_there, f"TIER = {tier!r}")
        assert found == ([1, None] if tier == "bwrap" else "PermissionError")

    def test_their_memory_and_their_limits_stay_theirs(self, tier):
        ours, cpus = os.getpid(), os.sched_getaffinity(0)
        ptrace_seize = "ctypes.CDLL(None).ptrace(0x4206, os.getppid(), 0, 0)"
        tried = ["os.open(f'/proc/{os.getppid()}/mem', os.O_RDWR)", ptrace_seize]
        tried += [f"os.sched_setaffinity({ours}, [{min(cpus)}])", f"resource.prlimit({ours}, 6, (1, 1))"]
        memory, traced, moved, *others = all_seen(tier, [*tried, f"os.setpriority(os.PRIO_PROCESS, {ours}, 5)"])
        assert moved is None  # so it is told
        assert os.sched_getaffinity(0) == cpus
        assert memory in ("OSError", *DENIED)
        assert traced == -1
        assert set(others) <= {"ProcessLookupError", "PermissionError"}


class TestFiles:
    def test_of_the_run(self, tier, tmp_path):
        names = ("reference.py", "candidates/8.py", "captions.parquet", "results/pairs.parquet", "clip/bin", "ray/log")
        paths = [tmp_path / name for name in names]
        tried = []
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("secret")
            file, folder = repr(str(path)), repr(str(path.parent))
            tried += [f"open({file}).read()", f"os.listdir({folder})", f"open({file}, 'a')", f"os.truncate({file}, 0)"]
            tried += [f"os.chmod({file}, 0)", f"os.unlink({file})"]
        assert [found for found in all_seen(tier, tried) if found not in DENIED] == []
        assert {path.read_text() for path in paths} == {"secret"}

    def test_of_the_project_and_of_the_user(self, tier):
        project, home = Path(__file__).parents[2], Path.home()
        tried = [f"open('{project}/pyproject.toml').read()", f"os.listdir('{project}/harness')"]
        tried += ["open('/etc/shadow').read()", "os.path.expanduser('~') == os.getcwd()", f"os.listdir('{home}')"]
        *denied, own_home, listed = all_seen(tier, tried)
        assert [found for found in denied if found not in DENIED] == []
        assert own_home is True
        # An interpreter in somebody's home is shown, and so is its name, but nothing beside it.
        shown = [Path(path) for path in visible_paths(spec_for(tier))]
        beside = [] if listed in DENIED else [n for n in listed if not any(p.is_relative_to(home / n) for p in shown)]
        assert beside == []

    def test_what_ships_with_the_package_is_hidden_among_the_packages(self, tier, tmp_path, monkeypatch):
        for name in ("other/module.py", "harness/embedded/clip", "harness/embedded/pipeline/unet"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("text")
        monkeypatch.setattr(tiers, "hidden_paths", lambda: [str(tmp_path / "harness")])
        pipeline = tmp_path / "harness" / "embedded" / "pipeline"
        spec = spec_for(tier, visible=(str(tmp_path),), models={"me/tiny": str(pipeline)})
        assert seen(tier, f"open('{tmp_path}/other/module.py').read()", spec=spec) == "text"
        assert seen(tier, f"open('{tmp_path}/harness/embedded/clip').read()", spec=spec) in DENIED
        assert seen(tier, "open('me/tiny/unet').read()", spec=spec) == "text"

    def test_a_model_of_the_hubs_cache_is_seen_and_its_neighbour_is_not(self, tier, tmp_path):
        for name in ("models--a--b", "models--c--d"):
            (tmp_path / name / "blobs").mkdir(parents=True)
            (tmp_path / name / "snapshots" / "1").mkdir(parents=True)
            (tmp_path / name / "blobs" / "x").write_text("w")
            (tmp_path / name / "snapshots" / "1" / "weights").symlink_to("../../blobs/x")
        spec = spec_for(tier, models={"a/b": str(tmp_path / "models--a--b" / "snapshots" / "1")})
        assert seen(tier, "open('a/b/weights').read()", spec=spec) == "w"
        assert seen(tier, f"open('{tmp_path}/models--c--d/blobs/x').read()", spec=spec) in DENIED

    def test_what_may_be_read_may_not_be_changed(self, tier, tmp_path):
        (tmp_path / "weights").write_text("w")
        spec = spec_for(tier, models={"me/model": str(tmp_path)})
        tried = ["os.listdir('me/model')", "open('me/model/weights', 'w')", "os.chmod('me/model/weights', 0)"]
        listed, *changed = all_seen(tier, [*tried, "os.utime('me/model/weights')"], spec=spec)
        assert listed == ["weights"]
        assert set(changed) <= {"OSError", "PermissionError"}
        assert (tmp_path / "weights").read_text() == "w"

    def test_a_child_writes_to_its_own_folders_and_to_nothing_else(self, tier):
        own = ["open('mine', 'w')", "__import__('tempfile').NamedTemporaryFile()", "open('/dev/null', 'w')"]
        others = [f"open('{folder}/mine', 'w')" for folder in ("/", "/dev", "/usr", "/opt", "/etc", "/sys")]
        found = all_seen(tier, [*(f"{file}.close()" for file in own), *others])
        assert found[:3] == [None] * 3
        assert set(found[3:]) <= {"OSError", *DENIED}


class TestProc:
    def test_what_is_not_its_own_is_read_only(self, tier):
        assert seen(tier, "written_in_proc()", WRITTEN_IN_PROC) == []

    def test_it_names_its_threads_as_cuda_does(self, any_tier):
        comm = "f'/proc/self/task/{threading.get_native_id()}/comm'"
        tried = [f"open({comm}, 'w').write('cuda')", f"open({comm}).read()"]
        assert all_seen(any_tier, tried, "import threading") == [4, "cuda\n"]


WRITTEN_IN_PROC = """
def written_in_proc():
    own = {"self", "thread-self", str(os.getpid())}
    found = []
    for folder, folders, files in os.walk("/proc"):
        if folder == "/proc":
            folders[:] = set(folders) - own
        for path in (os.path.join(folder, name) for name in files):
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                found.append(path)
            except OSError:
                pass
    return found
"""


class TestRights:
    def test_no_capability(self, tier):
        status = "[line.split() for line in open('/proc/self/status') if line.startswith(('Cap', 'NoNew', 'Seccomp:'))]"
        found = dict(seen(tier, status))
        assert {int(found[name], 16) for name in ("CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:")} == {0}
        assert (found["NoNewPrivs:"], found["Seccomp:"]) == ("1", "2")

    def test_no_mount_and_no_namespace(self, tier):
        libc = "ctypes.CDLL(None, use_errno=True)"
        clone_newuser, remount = 0x10000000, 32
        assert seen(tier, f"{libc}.unshare({clone_newuser})") == -1
        assert seen(tier, f"{libc}.mount(None, b'/', None, {remount}, None)") == -1

    def test_limits_that_cannot_be_raised(self, any_tier):
        limits = replace(QUICK, open_files=100, file_bytes=2**20, cpu_s=50, processes=99)
        names = ("NOFILE", "FSIZE", "CPU", "CORE", "NPROC")
        tried = [f"resource.getrlimit(resource.RLIMIT_{name})[1]" for name in names]
        tried += ["os.posix_fallocate(os.open('big', os.O_RDWR | os.O_CREAT), 0, 2**20 + 1)", RAISE]
        files, size, cpu, core, processes, written, raised = all_seen(any_tier, tried, limits=limits)
        assert (files, size, core, written) == (100, 2**20, 0, "OSError")
        assert 50 <= cpu <= 60
        assert processes >= 99
        if any_tier != "process":  # where root keeps its rights
            assert raised == -1


# By the C library: Python's own function makes a ValueError of a refusal.
RAISE = "ctypes.CDLL(None).setrlimit(resource.RLIMIT_NOFILE, (ctypes.c_ulong * 2)(200, 200))"


@pytest.mark.parametrize("bwrap", [tier_param("bwrap")])
def test_temporary_folders_have_a_size(bwrap):
    folders = ("/tmp", "/dev/shm", ".")
    rooms = [f"os.statvfs({folder!r}).f_blocks * os.statvfs({folder!r}).f_frsize" for folder in folders]
    assert all_seen(bwrap, rooms, limits=replace(QUICK, scratch_bytes=2**20)) == [2**20] * 3


def test_the_environment_holds_no_secret(any_tier, monkeypatch):
    monkeypatch.setenv("MY_SECRET_TOKEN", "hunter2")
    assert "hunter2" not in str(seen(any_tier, "dict(os.environ)"))


def test_a_users_own_packages_come_beside_the_childs(any_tier, tmp_path):
    (tmp_path / "mypackage.py").write_text("answer = 42")
    spec = spec_for(any_tier, visible=(str(tmp_path),), environment={"PYTHONPATH": str(tmp_path), "MINE": "1"})
    assert seen(any_tier, "[mypackage.answer, os.environ['MINE']]", "import mypackage", spec=spec) == [42, "1"]


def test_the_kernel_ends_a_child_first_where_memory_runs_out(any_tier):
    assert seen(any_tier, "open('/proc/self/oom_score_adj').read()") == "1000\n"


def test_only_the_one_gpu_is_shown():
    gpu = Device("H100", "GPU-1234", 2)
    if tiers.find_bwrap() is not None:
        command = " ".join(bwrap_command(spec_for("bwrap"), gpu, Limits(), 9, Shown.to(spec_for("bwrap")), {}))
        assert "/dev/nvidia2" in command
        assert "/dev/nvidia0" not in command
        assert "CUDA_VISIBLE_DEVICES GPU-1234" in command
    devices = confinement("landlock", spec_for("landlock"), gpu, Limits(), "/scratch").devices
    assert devices == ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia2")
