"""What a process keeps after it has restricted itself, for each version of Landlock that a kernel may have."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from actors import landlock
from actors.confine import reading

needs_landlock = pytest.mark.skipif(landlock.version() < 1, reason="the kernel has no Landlock")
needs_scopes = pytest.mark.skipif(not landlock.keeps_signals(), reason="Landlock keeps no signals in before Linux 6.12")


def restricted(grants: list, statements: str, known: int | None = None) -> list:
    """What a process of its own finds after restricting itself: `tried(f)` is f's value, or its exception's name."""
    source = (
        "import json, os, socket, sys\nfrom actors import landlock\nfound = []\n"
        "def tried(f):\n    try: found.append(f())\n    except OSError as error: found.append(type(error).__name__)\n"
        f"listener = socket.create_server(('127.0.0.1', 0)); port = listener.getsockname()[1]\n"
        f"landlock.restrict({grants!r}, {known!r})\n{statements}\nprint(json.dumps(found))"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """One to read, one to write to, one that no grant names; a file in each."""
    made = [tmp_path / name for name in ("read", "write", "closed")]
    for folder in made:
        folder.mkdir()
        (folder / "file").write_text("text")
    return made[0], made[1], made[2]


@needs_landlock
@pytest.mark.parametrize("known", [1, 2, 3, 4, 5, 6, 7])
def test_files(folders, known):
    if known > landlock.version():
        pytest.skip("a newer version than the kernel's")
    read, write, closed = map(str, folders)
    grants = [(read, landlock.READ), (write, landlock.WRITE), ("/nowhere", landlock.READ)]
    found = restricted(
        grants,
        f"tried(lambda: open('{read}/file').read())\n"
        f"tried(lambda: open('{read}/file', 'w').close())\n"
        f"tried(lambda: os.listdir('{read}'))\n"
        f"tried(lambda: open('{closed}/file').read())\n"
        f"tried(lambda: os.listdir('{closed}'))\n"
        f"tried(lambda: os.unlink('{closed}/file'))\n"
        f"tried(lambda: os.rename('{closed}/file', '{write}/stolen'))\n"
        f"tried(lambda: open('{write}/new', 'w').write('x'))\n"
        f"tried(lambda: os.symlink('{closed}/file', '{write}/link'))\n"
        f"tried(lambda: open('{write}/link').read())",
        known,
    )
    denied = "PermissionError"
    assert found == ["text", denied, ["file"], denied, denied, denied, denied, 1, None, denied]


@needs_scopes
def test_truncating_ports_and_signals(folders):
    read, _, closed = map(str, folders)
    found = restricted(
        [(read, landlock.READ)],
        f"tried(lambda: os.truncate('{closed}/file', 0))\n"
        "tried(lambda: socket.create_connection(('127.0.0.1', port)).close())\n"
        "tried(lambda: socket.create_server(('127.0.0.1', 0)).close())\n"
        "tried(lambda: os.kill(os.getppid(), 0))\n"
        "tried(lambda: os.kill(os.getpid(), 0))",
    )
    assert found == ["PermissionError"] * 4 + [None]


@needs_landlock
def test_a_folder_is_read_without_what_is_hidden_in_it(tmp_path):
    packages = tmp_path / "packages"
    for name in ("torch", "harness", "deep/er"):
        (packages / name).mkdir(parents=True)
        (packages / name / "file").write_text(name)
    hidden = [str(packages / "harness"), str(packages / "deep" / "er")]
    (tmp_path / "link").symlink_to(packages)
    names = ("torch/file", "harness/file", "deep/er/file")
    tries = "\n".join(f"tried(lambda: open('{packages}/{name}').read())" for name in names)
    for shown in (packages, tmp_path / "link"):
        assert restricted(reading(str(shown), hidden), tries) == ["torch", "PermissionError", "PermissionError"]


def test_a_kernel_without_landlock_is_told_apart():
    with pytest.raises(OSError, match="no Landlock"):
        landlock.restrict([], known=0)
