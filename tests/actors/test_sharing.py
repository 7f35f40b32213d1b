"""What children on one machine share, and must not use: files that all of them read, CPUs of others."""

import ctypes
import mmap
import os
from pathlib import Path

import pytest

from actors import bwrap, seccomp
from actors.bwrap import View, private_inodes
from actors.sandbox import tier_problem
from actors.tiers import INSIDE, PACKAGE, Shown
from tests.actors.inside import ALL_TIERS, all_seen, lasting, seen, spec_for

ROGUES = Path(__file__).parents[1] / "rogues" / "settings"
NO_FILTER = seccomp.problem()
pytestmark = pytest.mark.skipif(NO_FILTER is not None, reason=str(NO_FILTER))
needs_overlays = pytest.mark.skipif(
    tier_problem("bwrap") is not None or private_inodes(["/usr"]) is not None, reason="no overlays in a sandbox here"
)
COLUMN = list(seccomp.AUDIT_ARCH).index(os.uname().machine) if NO_FILTER is None else 0
# By number: neither Python nor the C library looks at the arguments first.
CALLS = f"""
import errno, fcntl, mmap, struct, subprocess
NUMBERS = { ({name: numbers[COLUMN] for name, numbers in seccomp.EXAMINED.items()})!r}
LIBC, ALL = ctypes.CDLL(None, use_errno=True), ctypes.c_uint64(2**64 - 1)
def call(name, *arguments):
    wide = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
    result = LIBC.syscall(ctypes.c_long(NUMBERS[name]), *wide)
    return result if result != -1 else errno.errorcode[ctypes.get_errno()]
"""


@pytest.fixture(params=ALL_TIERS)
def any_tier(request):
    return request.param


@pytest.fixture
def library(tmp_path):
    """A file in a folder that children are shown."""
    path = tmp_path / "shown" / "library"
    path.parent.mkdir()
    path.write_bytes(b"text" * 1024)
    return path


def reading(tier, library):
    """How a child has the library open as FD."""
    return f"{CALLS}\nFD = os.open({str(library)!r}, os.O_RDONLY)", spec_for(tier, visible=(str(library.parent),))


class TestLocks:
    def both(self, tier, library, first, second):
        """The values of an expression each, of two children at once."""
        with lasting(tier, [first], *reading(tier, library)) as found:
            return [*found, seen(tier, second, *reading(tier, library))]

    @needs_overlays
    def test_a_lock_of_one_child_is_none_for_the_other(self, library):
        lock = "fcntl.flock(FD, fcntl.LOCK_EX | fcntl.LOCK_NB)"
        assert self.both("bwrap", library, lock, lock) == [None, None]

    @pytest.mark.parametrize("f_getlk", [5, 36, 5 + 2**32])
    def test_nobody_can_ask_for_the_locks_of_others(self, any_tier, library, f_getlk):
        write_lock = "struct.pack('hhqqi4x', 1, 0, 0, 0, 0)"
        shared = "fcntl.lockf(FD, fcntl.LOCK_SH | fcntl.LOCK_NB, 42, 7)"
        assert self.both(any_tier, library, shared, f"call('fcntl', FD, {f_getlk}, {write_lock})") == [None, "EINVAL"]

    def test_no_lease_no_watch_and_no_hint(self, any_tier, library):
        f_setlease, f_notify, f_set_rw_hint, f_setdeleg = 1024, 1026, 1036, 1040
        tried = [f"call('fcntl', FD, {number}, 0)" for number in (f_setlease, f_setlease + 2**32, f_setdeleg)]
        tried += [f"call('fcntl', FD, {f_set_rw_hint}, ctypes.byref(ctypes.c_uint64(3)))"]
        tried += [f"call('fcntl', os.open('/usr', 0), {f_notify}, 2)"]
        assert all_seen(any_tier, tried, *reading(any_tier, library)) == ["EINVAL"] * 5

    def test_own_locks_work(self, any_tier):
        before = "import fcntl\nFILE, OTHER, KIND = open('mine', 'w'), open('mine', 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB"
        tried = ["fcntl.flock(FILE, KIND)", "fcntl.flock(OTHER, KIND)", "fcntl.lockf(FILE, KIND)"]
        assert all_seen(any_tier, tried, before) == [None, "BlockingIOError", None]

    def test_a_database_works(self, any_tier):
        before = "import sqlite3\none, two = (sqlite3.connect('db') for _ in 'ab')\none.execute('create table t(x)')"
        write = "one.execute('insert into t values (7)').connection.commit()"
        read = "two.execute('select x from t').fetchall()"
        assert all_seen(any_tier, [write, read], before) == [None, [(7,)]]


class TestPages:
    def test_they_stay_in_memory_and_nobody_says_which(self, any_tier, library):
        os.sync()  # what was not written yet stays anyway
        tried = ["os.posix_fadvise(FD, 0, 0, os.POSIX_FADV_DONTNEED)", "MAPPED.madvise(21)"]
        tried += ["call('mincore', 0, 4096, PAGE)", "os.preadv(FD, [bytearray(4)], 0, os.RWF_NOWAIT)"]
        before, spec = reading(any_tier, library)
        before += "\nMAPPED, PAGE = mmap.mmap(FD, 0, prot=mmap.PROT_READ), ctypes.create_string_buffer(1)"
        assert all_seen(any_tier, tried, before, spec) == [None, None, "ENOSYS", "OSError"]
        assert resident(library)


def resident(path):
    """Whether a file's first page is in memory."""
    libc, page = ctypes.CDLL(None), ctypes.create_string_buffer(1)
    libc.mmap.restype, fd, size = ctypes.c_void_p, os.open(path, os.O_RDONLY), ctypes.c_size_t(4096)
    place = ctypes.c_void_p(libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, ctypes.c_long(0)))
    assert libc.mincore(place, size, page) == 0
    os.close(fd)
    return bool(page.raw[0] & 1)


@pytest.fixture
def one_cpu():
    """Puts this process, and so its children, on one CPU; gives its number."""
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(everywhere)])
    yield min(everywhere)
    os.sched_setaffinity(0, everywhere)


class TestCpus:
    def test_no_child_leaves_those_that_it_was_put_on(self, any_tier, one_cpu):
        tried = ["os.sched_setaffinity(0, range(64))", "call('sched_setaffinity', 0, 8, ctypes.byref(ALL))"]
        found = all_seen(any_tier, [*tried, "os.sched_getaffinity(0)"], CALLS)
        assert found == [None, 0, {one_cpu}]

    def test_nor_does_a_rogue(self, any_tier, one_cpu, tmp_path):
        (tmp_path / "toyfusion.py").write_text("ToyPipeline = None")  # theirs takes seconds to import
        rogues = "\n".join(path.read_text() for path in sorted(ROGUES.glob("other_cpus*.py")))
        environment = {"PYTHONPATH": str(tmp_path)}
        spec = spec_for(any_tier, visible=(str(tmp_path),), environment=environment)
        assert rogues.count("raise SystemExit") == 4
        assert seen(any_tier, "os.sched_getaffinity(0)", rogues, spec) == {one_cpu}

    def test_openmp_finds_that_cpus_can_be_asked_for(self, any_tier):
        assert seen(any_tier, "call('sched_setaffinity', 0, 128, None)", CALLS) == "EFAULT"

    def test_policies_of_the_scheduler_are_not_set_by_the_call_that_takes_slices_and_deadlines(self, any_tier):
        assert seen(any_tier, "call('sched_setattr', 0, None, 0)", CALLS) == "EPERM"


class TestViews:
    """What is shown, and how."""

    def test_a_folder_is_an_overlay_a_file_a_copy_and_a_link_a_link(self, library, monkeypatch):
        monkeypatch.setattr(bwrap, "without_overlay", lambda folders: {})
        folder, link = library.parent, library.parent.parent / "link"
        link.symlink_to("shown/library")
        alone = View("copy", str(library), str(library))
        inside = View("link", str(library), str(link))
        around = View("overlay", str(folder), str(folder))
        assert bwrap.views([str(library)]) == [alone]
        assert bwrap.views([str(folder), str(library), str(link), "/nowhere"]) == [around, inside]
        assert bwrap.views([str(link)]) == [View("copy", str(library), str(link))]

    def test_what_is_mounted_in_a_folder_is_shown_beside_the_rest(self, library, monkeypatch):
        monkeypatch.setattr(bwrap, "without_overlay", lambda folders: {})
        folder = library.parent
        for name in ("bin", "nvidia/lib"):
            (folder / name).mkdir(parents=True)
        (folder / "bin64").symlink_to("bin")
        mounted = ["/", str(folder / "nvidia"), str(folder / "nvidia" / "lib")]
        monkeypatch.setattr(bwrap, "mount_points", lambda: mounted)
        kinds = {view.place.removeprefix(str(folder)): view.kind for view in bwrap.views([str(folder)])}
        assert kinds == {
            "": "folder",
            "/bin": "overlay",
            "/bin64": "link",
            "/library": "copy",
            "/nvidia": "folder",
            "/nvidia/lib": "overlay",
        }

    def test_a_large_folder_that_files_are_mounted_in_is_bound_and_named(self, library, monkeypatch):
        monkeypatch.setattr(bwrap, "without_overlay", lambda folders: {})
        monkeypatch.setattr(bwrap, "ENTRIES", 0)
        monkeypatch.setattr(bwrap, "mount_points", lambda: [str(library)])
        assert bwrap.views([str(library.parent)]) == [View("bind", str(library.parent), str(library.parent))]
        assert str(library.parent) in (private_inodes([str(library.parent)]) or "")

    def test_where_no_overlay_can_be_made_it_is_bound_and_why_is_said(self, library, monkeypatch):
        monkeypatch.setattr(bwrap, "without_overlay", lambda folders: dict.fromkeys(folders, "too deep"))
        assert bwrap.views([str(library.parent)]) == [View("bind", str(library.parent), str(library.parent))]
        assert "too deep" in (private_inodes([str(library.parent)]) or "")

    def test_a_mount_points_name_is_read_as_the_kernel_writes_it(self, monkeypatch):
        line = r"1 2 0:3 / /a\040b\134c rw - ext4 /dev/vda rw"
        monkeypatch.setattr(bwrap.Path, "read_text", lambda _: line)
        assert bwrap.mount_points() == [r"/a b\c"]


@needs_overlays
@pytest.mark.parametrize("name", ["plain", "a:b", "a,b", "a\\b", "ä b"])
def test_a_model_is_seen_whatever_its_folder_is_called_and_cannot_be_changed(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "weights").write_text("w")
    spec = spec_for("bwrap", models={"me/model": str(folder), str(tmp_path / "absolute"): str(folder)})
    tried = ["open('me/model/weights').read()", f"open({str(tmp_path / 'absolute' / 'weights')!r}).read()"]
    tried += ["open('me/model/weights', 'w')", "open('me/model/new', 'w')"]
    assert all_seen("bwrap", tried, spec=spec) == ["w", "w", "OSError", "OSError"]
    assert all(view.kind == "overlay" for view in Shown.to(spec).models)


@needs_overlays
def test_no_file_of_the_machine_is_seen_by_its_own_inode():
    paths = ["/usr", "/usr/bin/env", "/etc/passwd", os.__file__, str(PACKAGE)]
    ours = [(about.st_dev, about.st_ino) for about in (Path(path).stat() for path in paths)]
    paths[-1] = f"{INSIDE}/actors"
    theirs = seen("bwrap", f"[(os.stat(path).st_dev, os.stat(path).st_ino) for path in {paths}]")
    assert set(ours) & set(theirs) == set()


@needs_overlays
def test_no_file_that_was_copied_stays_open():
    tried = "[name for name in os.listdir('/proc/self/fd') if '/etc' in safe(name)]"
    safe = "def safe(n):\n    try: return os.readlink('/proc/self/fd/' + n)\n    except OSError: return ''"
    assert seen("bwrap", tried, safe) == []
