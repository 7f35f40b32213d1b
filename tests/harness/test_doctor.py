"""What doctor says of GPUs that the driver knows, by what torch says of them."""

import re

import pytest

from harness import doctor
from harness.config import load_config


def gpus(monkeypatch, folder, torch: str) -> doctor.Finding:
    """The finding on two GPUs where `import torch` runs this source."""
    (folder / "torch.py").write_text(torch)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(doctor, "gpu_names", lambda: ["NVIDIA H100", "NVIDIA H100"])
    return next(finding for finding in doctor.examine() if finding.subject == "GPUs")


def torch_that(available: bool, cuda: str | None) -> str:
    return f"class cuda:\n    is_available = lambda: {available}\nclass version:\n    cuda = {cuda!r}\n"


def test_gpus_that_torch_can_use_are_fine(monkeypatch, tmp_path):
    finding = gpus(monkeypatch, tmp_path, torch_that(True, "12.8"))
    assert (finding.works, finding.text) == (True, "2 x NVIDIA H100")


@pytest.mark.parametrize(
    ("torch", "said"),
    [
        (torch_that(False, None), "a build without CUDA"),
        (torch_that(False, "12.8"), "built for CUDA 12.8; update NVIDIA's driver"),
        ("raise ImportError('libcudart.so.12')", "ImportError: libcudart.so.12"),
    ],
)
def test_gpus_that_torch_cannot_use_fail_with_the_mend(monkeypatch, tmp_path, torch, said):
    finding = gpus(monkeypatch, tmp_path, torch)
    assert finding.needed
    assert not finding.works
    assert said in finding.text


def test_absent_methods_come_with_a_command_that_works_from_a_clone(monkeypatch):
    monkeypatch.setattr(doctor, "installed_versions", lambda: {"python": "3.11.9"})
    said = next(finding.text for finding in doctor.examine() if finding.subject == "methods")
    assert said.endswith("pip install -e '.[methods]'")


def test_the_prompts_that_the_defaults_allow_are_said(monkeypatch):
    (found,) = doctor._prompts()
    assert found.works
    assert re.match(r"128 by default .* fewer than \d\d if one image .* and \d\d if it can lose all", found.text)
    monkeypatch.setattr(doctor, "Config", lambda: load_config(None, ["evaluation.prompts=8"]))
    (found,) = doctor._prompts()
    assert (found.works, found.text.startswith("no candidate can pass with 8 prompts")) == (False, True)


@pytest.mark.parametrize(("by", "works"), [("cgroup v2", True), ("cgroup v1", True), ("signals", False)])
def test_what_stops_children_is_said(monkeypatch, by, works):
    monkeypatch.setattr(doctor, "freezer", lambda: by)
    found = next(finding for finding in doctor._sandbox() if finding.subject == "stopping children")
    assert (found.works, found.text.startswith(by)) == (works, True)
