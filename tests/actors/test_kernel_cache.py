"""What CUDA compiled, from one process's folder to another's."""

import io
import tarfile

import pytest

from actors import kernel_cache


@pytest.fixture
def use(tmp_path, monkeypatch):
    """Has CUDA's folder of this process be one of the test's, by name."""

    def of(name):
        monkeypatch.setenv("CUDA_CACHE_PATH", str(tmp_path / name))
        return tmp_path / name

    return of


def test_every_file_arrives_beside_those_that_are_there_and_in_place_of_an_older_one(use):
    source = use("source")
    (source / "b" / "4").mkdir(parents=True)
    (source / "index").write_bytes(b"of both")
    (source / "b" / "4" / "085ac40e").write_bytes(bytes(range(256)) * 100)
    packed = kernel_cache.pack()
    target = use("target")
    (target / "b").mkdir(parents=True)
    (target / "index").write_bytes(b"of one")
    (target / "b" / "own").write_bytes(b"kept")
    opened = (target / "index").open("rb")
    kernel_cache.unpack(packed)
    files = {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert files == {"index": b"of both", "b/own": b"kept", "b/4/085ac40e": bytes(range(256)) * 100}
    assert opened.read() == b"of one", "a file that is open, or mapped, is not written over"
    assert {path.name for path in target.parent.iterdir()} == {"source", "target"}, "nothing is left beside it"


def test_a_folder_that_is_not_there_is_nothing(use):
    use("nowhere")
    assert kernel_cache.pack() == b""


def test_more_than_a_request_may_hold_is_left_out(use):
    folder = use("large")
    folder.mkdir()
    (folder / "kernel").write_bytes(bytes(kernel_cache.MOST_BYTES + 1))
    assert kernel_cache.pack() == b""


@pytest.mark.parametrize("packed", [b"no archive", b"", bytes(2048)])
def test_what_is_no_archive_leaves_the_folder_as_it_was(use, packed):
    folder = use("own")
    folder.mkdir()
    (folder / "index").write_bytes(b"own")
    kernel_cache.unpack(packed)
    assert [path.read_bytes() for path in folder.iterdir()] == [b"own"]


def test_nothing_is_written_outside_of_the_folder(use, tmp_path):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../outside"), io.BytesIO())
    use("folder")
    kernel_cache.unpack(data.getvalue())
    assert not (tmp_path / "outside").exists()
