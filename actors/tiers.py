"""The sandbox tiers: what each shows to a child, and the command line that starts one in it.

`bwrap` (bubblewrap): namespaces of its own for processes, network, mounts, IPC and users; a read-only view of the
interpreter, the packages and the model folders and of nothing else; temporary folders of a fixed size; one GPU; no
capability; a filter of system calls. `landlock`, where user namespaces are refused: the same view by Landlock, no
socket at all, no capability, a stricter filter, and a warden that ends what the child started; its temporary folder is
on the machine's disk. `process`: limits, a warden and a clean environment, no more; it keeps honest code from tripping
over its neighbours and stops nobody, so it has to be asked for by name.
"""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from actors.bwrap import View, find_bwrap, open_copied, showing, views, views_of_folders
from actors.confine import Confinement
from actors.messages import Limits, SandboxSpec

TIERS = ("bwrap", "landlock", "process")  # strongest first
PACKAGE = Path(__file__).resolve().parent
INSIDE = "/opt/diffharness"  # where the package `actors` lies inside bwrap
BWRAPS_OWN = 1  # the process id that bwrap has in the namespace that it makes
SCRATCH = "/scratch"  # the working folder inside bwrap
WRITABLE = ("/tmp", "/dev/shm", SCRATCH)  # inside bwrap: file systems in memory, each of its own size
# What a dynamic linker, a compiler (Triton and Inductor call one) and name look-ups need of the machine.
SYSTEM_PATHS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/sys")
ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "passwd", "group", "nsswitch.conf", "localtime")
GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvidia-uvm")
GPU_TOOLS = "/dev/nvidia-uvm-tools"
# Settings of the machine's libraries; everything else of the environment stays outside.
PASSED_ON = ("LD_LIBRARY_PATH", "CUDA_HOME", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
# Left alone, glibc moves its thresholds by what a process has freed so far; two processes of one file then differ in
# speed for as long as they live: on a CPU by 6% (standard deviation), and by 2% with fixed ones.
STEADY_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(2**26),
}


@dataclass(frozen=True)
class Device:
    """The one device that a child may use. `uuid` and `minor` (of /dev/nvidia<minor>) are None for the CPU."""

    name: str
    uuid: str | None = None
    minor: int | None = None


@dataclass(frozen=True)
class Shown:
    """The files that bwrap shows to a child: the models after the system, a part of which is hidden before."""

    system: tuple[View, ...]
    models: tuple[View, ...]

    @classmethod
    def to(cls, spec: SandboxSpec) -> Shown:
        """What this specification asks for."""
        places = [(path, path) for path in model_paths(spec)]
        places += [(folder, name) for name, folder in spec.models.items() if Path(name).is_absolute()]
        models = views_of_folders([*places, (str(PACKAGE), f"{INSIDE}/actors")])
        return cls(tuple(views(visible_paths(spec))), tuple(models))

    def open_copied(self) -> dict[View, int]:
        """The files for bwrap to read; the caller closes them."""
        return open_copied((*self.system, *self.models))

    @property
    def overlays(self) -> list[str]:
        """Where bwrap would leave memory without a limit to write to."""
        return [view.place for view in (*self.system, *self.models) if view.kind == "overlay"]


def bwrap_command(
    spec: SandboxSpec, device: Device, limits: Limits, filter_fd: int, shown: Shown, copied: Mapping[View, int]
) -> list[str]:
    """The command line of bwrap up to the program that it runs.

    filter_fd: from where it reads the seccomp filter. copied: an open file for each of `shown` that is to be a copy.
    """
    bwrap = find_bwrap()
    assert bwrap is not None, "asked for bwrap before choose_tier"
    command = [bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox"]
    # To root, bwrap leaves all capabilities in the new namespace: enough to mount what is read-only once more.
    command += ["--cap-drop", "ALL", "--seccomp", str(filter_fd)]
    # CUDA writes to its own folder of /proc, and needs it writable. So what is not a process's own is covered: bwrap's
    # process, the first, whose memory no filter holds, and what sets the machine (to root, its files are open).
    command += ["--proc", "/proc", "--tmpfs", f"/proc/{BWRAPS_OWN}"]
    for path in settings_of_proc():
        command += ["--ro-bind-try", path, path]
    for path in secrets_of_proc():
        command += ["--ro-bind-try", "/dev/null", path]
    command += ["--dev", "/dev"]
    for folder in WRITABLE:
        command += ["--perms", "1777", "--size", str(limits.scratch_bytes), "--tmpfs", folder]
    command += showing(shown.system, copied)
    covered = list(dict.fromkeys(path for folder in visible_paths(spec) for path in hidden_within(folder)))
    for path in covered:
        command += ["--tmpfs", path]
    command += showing(shown.models, copied)
    for name, folder in spec.models.items():
        if not Path(name).is_absolute():
            command += ["--symlink", folder, f"{SCRATCH}/{name}"]
    if device.minor is not None:
        for node in (*GPU_DEVICES, f"/dev/nvidia{device.minor}"):
            command += ["--dev-bind", node, node]
        command += ["--dev-bind-try", GPU_TOOLS, GPU_TOOLS]
    for name, value in child_environment(spec, device, INSIDE, SCRATCH).items():
        command += ["--setenv", name, value]
    # The folders that bwrap made for what it mounts lie in memory without a limit, and so does what changes an overlay.
    for path in (*shown.overlays, *covered, f"/proc/{BWRAPS_OWN}", "/dev", "/"):
        command += ["--remount-ro", path]
    return [*command, "--chdir", SCRATCH, "--"]


def settings_of_proc() -> list[str]:
    """What the machine's /proc holds beside processes that can be written, or is a folder."""
    entries = [path for path in Path("/proc").iterdir() if not path.name.isdigit() and not path.is_symlink()]
    return sorted(str(path) for path in entries if path.is_dir() or path.stat().st_mode & 0o222)


def secrets_of_proc() -> list[str]:
    """What the machine's /proc shows to root alone, such as which pages are in use. A child of root's is root to it."""
    entries = [path for path in Path("/proc").iterdir() if path.is_file() and not path.is_symlink()]
    return sorted(str(path) for path in entries if not path.stat().st_mode & 0o206)


def warden_command(leash_fd: int, scratch: str) -> list[str]:
    """The command line of the warden up to the program that it runs.

    leash_fd: the reading end of its leash. scratch: the working folder of what it runs.
    """
    return [sys.executable, "-S", "-m", "actors.warden", str(leash_fd), scratch]


def confinement(tier: str, spec: SandboxSpec, device: Device, limits: Limits, scratch: str) -> Confinement:
    """What a child in this tier does to itself before it does anything else. `scratch` is its working folder."""
    limited = Confinement.of(tier, limits)
    if tier != "landlock":
        return limited
    # Not /dev/shm: what lies there is everybody's, Ray's objects among it, and outlives who made it.
    return replace(
        limited,
        readable=(*visible_paths(spec), *model_paths(spec), str(PACKAGE)),
        hidden=tuple(hidden_paths()),
        writable=(scratch,),
        devices=() if device.minor is None else (*GPU_DEVICES, GPU_TOOLS, f"/dev/nvidia{device.minor}"),
    )


def visible_paths(spec: SandboxSpec) -> list[str]:
    """What a child may read beside its models: the system, the interpreter, its packages, the specification's folders.

    Not the folder that an editable installation points to: it may hold the tasks, the candidates and the results.
    """
    interpreter = [sys.prefix, sys.base_prefix, sys.exec_prefix, str(Path(sys.executable).resolve().parent)]
    packages = [*site.getsitepackages(), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    paths = [*SYSTEM_PATHS, *(f"/etc/{name}" for name in ETC), *interpreter]
    paths += [path for path in packages if path and Path(path).resolve() != PACKAGE.parent]
    return list(dict.fromkeys([*paths, *spec.visible]))


def hidden_paths() -> list[str]:
    """What no child may read though it lies in a folder that is shown: the upper floor, where it is installed among the
    packages, holds the CLIP model and the captions.
    """
    return [str(PACKAGE.parent / "harness")]


def hidden_within(folder: str) -> list[str]:
    """The hidden folders that lie in a folder, by the name that it is shown under: it may be a link."""
    root = Path(folder).resolve()
    hidden = [Path(path) for path in hidden_paths()]
    return [str(Path(folder) / path.relative_to(root)) for path in hidden if path.is_relative_to(root)]


def model_paths(spec: SandboxSpec) -> list[str]:
    """The folders of the models that a child may read."""
    return list(dict.fromkeys(model_root(folder) for folder in spec.models.values()))


def model_root(folder: str) -> str:
    """The folder to show for a model: a snapshot in the hub's cache is links to files two folders up."""
    path = Path(folder)
    return str(path.parents[1]) if path.parent.name == "snapshots" else folder


def child_environment(spec: SandboxSpec, device: Device, package_root: str, scratch: str) -> dict[str, str]:
    """Every environment variable of a child."""
    packages = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": scratch,
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join([package_root, *packages]),
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "HF_HOME": f"{scratch}/huggingface",
        "HF_HUB_OFFLINE": "1",
        "TORCHINDUCTOR_CACHE_DIR": f"{scratch}/inductor",
        "TRITON_CACHE_DIR": f"{scratch}/triton",
        "CUDA_CACHE_PATH": f"{scratch}/cuda",  # what the driver and CUDA's libraries compile: actors.kernel_cache
        # Else every launch of a process that was once profiled takes a third longer: https://github.com/pytorch/kineto/pull/1264
        "TEARDOWN_CUPTI": "1",
        "CUDA_VISIBLE_DEVICES": device.uuid or "",
        **STEADY_MALLOC,
    }
    if spec.threads is not None:
        environment |= {"OMP_NUM_THREADS": str(spec.threads), "MKL_NUM_THREADS": str(spec.threads)}
    if scratch != SCRATCH:  # bwrap shows a /tmp of the child's own
        environment["TMPDIR"] = scratch
    environment |= spec.environment
    if "PYTHONPATH" in spec.environment:  # beside what the child itself needs
        environment["PYTHONPATH"] = os.pathsep.join([package_root, *packages, spec.environment["PYTHONPATH"]])
    return environment


def link_models(models: Mapping[str, str], folder: Path) -> None:
    """Makes each model's name a link in the working folder, so that diffusers takes the name for a local path."""
    for name, target in models.items():
        if not Path(name).is_absolute():
            link = folder / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
