"""What each tier promises, tried from inside by what would break it."""

import contextlib
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from actors import landlock, tiers
from actors.messages import Limits
from actors.tiers import Device, bwrap_command, confinement
from tests.actors.inside import ALL_TIERS, CONFINING, QUICK, seen, spec_for, tier_param

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

    @pytest.mark.parametrize("family", ["AF_VSOCK", "AF_PACKET", "AF_ALG", "AF_BLUETOOTH"])
    def test_families_that_no_namespace_holds(self, tier, family):
        number = getattr(socket, family)
        assert seen(tier, f"socket.socket({int(number)}, socket.SOCK_SEQPACKET)") == "PermissionError"


class TestOtherProcesses:
    def test_they_are_not_seen(self, tier):
        ours = os.getpid()
        assert seen(tier, f"open('/proc/{ours}/cmdline').read()") in DENIED
        assert seen(tier, f"open('/proc/{ours}/environ').read()") in DENIED
        listed = seen(tier, "sorted(os.listdir('/proc'))")
        assert listed in DENIED or str(ours) not in listed

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
        assert seen(tier, "os.open(f'/proc/{os.getppid()}/mem', os.O_RDWR)") in ("OSError", *DENIED)
        ptrace_seize = "ctypes.CDLL(None).ptrace(0x4206, os.getppid(), 0, 0)"
        assert seen(tier, ptrace_seize) == -1
        other = f"__import__('resource').prlimit({os.getpid()}, 6, (1, 1))"
        assert seen(tier, other) in ("ProcessLookupError", "PermissionError")
        assert seen(tier, f"os.sched_setaffinity({os.getpid()}, [0])") in ("ProcessLookupError", "PermissionError")
        assert seen(tier, f"os.setpriority(os.PRIO_PROCESS, {os.getpid()}, 5)") in (
            "ProcessLookupError",
            "PermissionError",
        )


class TestFiles:
    @pytest.mark.parametrize(
        "place",
        ["reference.py", "candidates/8.py", "captions.parquet", "results/pairs.parquet", "clip/weights.bin", "ray/log"],
    )
    def test_of_the_run(self, tier, tmp_path, place):
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("secret")
        assert seen(tier, f"open({str(path)!r}).read()") in DENIED
        assert seen(tier, f"os.listdir({str(path.parent)!r})") in DENIED
        assert seen(tier, f"open({str(path)!r}, 'a')") in DENIED
        assert seen(tier, f"os.truncate({str(path)!r}, 0)") in DENIED
        assert seen(tier, f"os.chmod({str(path)!r}, 0)") in DENIED
        assert seen(tier, f"os.unlink({str(path)!r})") in DENIED
        assert path.read_text() == "secret"

    def test_of_the_project_and_of_the_user(self, tier):
        project = Path(__file__).parents[2]
        assert seen(tier, f"open({str(project / 'pyproject.toml')!r}).read()") in DENIED
        assert seen(tier, f"os.listdir({str(project / 'harness')!r})") in DENIED
        assert seen(tier, f"os.listdir({str(Path.home())!r})") in DENIED
        assert seen(tier, "open('/etc/shadow').read()") in DENIED
        assert seen(tier, "os.path.expanduser('~') == os.getcwd()")

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
        assert seen(tier, "os.listdir('me/model')", spec=spec) == ["weights"]
        for change in (
            "open('me/model/weights', 'w')",
            "os.chmod('me/model/weights', 0)",
            "os.utime('me/model/weights')",
        ):
            assert seen(tier, change, spec=spec) in ("OSError", "PermissionError")
        assert (tmp_path / "weights").read_text() == "w"

    def test_a_child_writes_to_its_own_folders_and_to_nothing_else(self, tier):
        assert seen(tier, "open('mine', 'w').write('x')") == 1
        assert seen(tier, "__import__('tempfile').NamedTemporaryFile().write(b'x')") == 1
        for folder in ("/", "/dev", "/usr", "/opt"):
            assert seen(tier, f"open('{folder}/mine', 'w')") in ("OSError", *DENIED)
        assert seen(tier, "open('/dev/null', 'w').write('x')") == 1


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
        names = ("NOFILE", "FSIZE", "CPU", "CORE")
        before = "import resource\nlimits = {n: getattr(resource, 'RLIMIT_' + n) for n in " + repr(names) + "}"
        hard = seen(any_tier, "[resource.getrlimit(n)[1] for n in limits.values()]", before, limits=limits)
        assert hard[0] == 100
        assert hard[1] == 2**20
        assert 50 <= hard[2] <= 60
        assert hard[3] == 0
        assert seen(any_tier, "resource.getrlimit(resource.RLIMIT_NPROC)[1]", before, limits=limits) >= 99
        assert seen(any_tier, "open('big', 'wb').write(bytes(2**20 + 1))", before, limits=limits) == "OSError"
        if any_tier != "process":
            raised = "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))"
            text = seen(any_tier, f"(lambda: {raised})()", before + CAUGHT.format(raised), limits=limits)
            assert text in ("PermissionError", "OSError", "ValueError")


CAUGHT = """
try:
    {}
except ValueError as error:  # what the module makes of a refusal
    raise OSError from error
"""


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm", "."])
@pytest.mark.parametrize("bwrap", [tier_param("bwrap")])
def test_temporary_folders_have_a_size(bwrap, folder):
    limits = replace(QUICK, scratch_bytes=2**20)
    room = f"os.statvfs({folder!r}).f_blocks * os.statvfs({folder!r}).f_frsize"
    assert seen(bwrap, room, limits=limits) == 2**20


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
        with contextlib.closing(open(os.devnull)) as nothing:
            command = " ".join(bwrap_command(spec_for("bwrap"), gpu, Limits(), nothing.fileno()))
        assert "/dev/nvidia2" in command
        assert "/dev/nvidia0" not in command
        assert "CUDA_VISIBLE_DEVICES GPU-1234" in command
    devices = confinement("landlock", spec_for("landlock"), gpu, Limits(), "/scratch").devices
    assert devices == ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia2")
