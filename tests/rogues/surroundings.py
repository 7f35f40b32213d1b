"""What rogues reach for, and what they may not leave behind: listeners, a secret, a victim; and a look afterwards."""

import contextlib
import os
import secrets
import socket
import time
from pathlib import Path

SECRET = "hunter2-of-the-supervisor"
IPC_KEY = 0x726F6775  # of what rogues make of System V's shared memory; stands in their files, too
GONE_S = 2.0  # so long after the end of a child may something of it be left


class Surroundings:
    """Set up around an actor's children; `environment` tells the rogues where everything is."""

    def __init__(self, folder: Path) -> None:
        self.mark = f"rogue-{secrets.token_hex(8)}"
        self.folder = folder
        self.victim = folder / "victim"
        self.victim.write_text(SECRET)
        self.listeners = [
            listener(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            listener(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            listener(socket.AF_UNIX, socket.SOCK_STREAM, str(folder / "socket")),
            listener(socket.AF_UNIX, socket.SOCK_STREAM, f"\0{self.mark}"),
        ]
        tcp, udp, path, _ = (one.getsockname() for one in self.listeners)
        self.environment = {
            "ROGUE_MARK": self.mark,
            "ROGUE_TCP": str(tcp[1]),
            "ROGUE_UDP": str(udp[1]),
            "ROGUE_SOCKET": str(path),
            "ROGUE_VICTIM": str(self.victim),
            "ROGUE_PROJECT": str(Path(__file__).parents[2]),
        }

    def close(self) -> None:
        """Takes the listeners down."""
        for one in self.listeners:
            one.close()

    def marked(self) -> set[int]:
        """Every process that was started with our mark, in its environment or on its command line."""
        found = set()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
                stated = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
                if self.mark.encode() in stated and "State:\tZ" not in (folder / "status").read_text():
                    found.add(int(folder.name))
        return found

    def left(self, children: list[set[int]]) -> list[str]:
        """What is there that should not be. children: the processes of each child that lives on."""
        problems = [f"process {pid}" for pid in self.marked() - set().union(*children)]
        problems += [f"delivered to {one.getsockname()!r}" for one in self.listeners if was_reached(one)]
        if not self.victim.exists() or self.victim.read_text() != SECRET:
            problems.append("the victim was touched")
        places = [Path("/tmp"), Path("/dev/shm"), Path("/var/tmp"), Path.home(), Path.cwd(), self.folder, *cgroups()]
        problems += [str(path) for place in places for path in place.glob("*rogue*") if path.is_file()]
        folders = [*self.folder.glob("diffharness*"), *(g for at in cgroups() for g in at.glob(f"*-{os.getpid()}-*"))]
        problems += [f"{len(folders)} folders of children"] if len(folders) > 8 * len(children) else []
        problems += [
            f"System V {kind}" for kind in ("shm", "msg", "sem") if str(IPC_KEY) in read(f"/proc/sysvipc/{kind}")
        ]
        problems += ["a key"] if "rogue" in read("/proc/keys") else []
        return problems


def left_in_the_end(surroundings: Surroundings, children: list[set[int]]) -> list[str]:
    """What is still there when its time is over."""
    deadline = time.perf_counter() + GONE_S
    while (problems := surroundings.left(children)) and time.perf_counter() < deadline:
        time.sleep(0.1)
    return problems


def listener(family: int, kind: int, address: object) -> socket.socket:
    """A socket that takes what rogues send."""
    one = socket.socket(family, kind)
    one.bind(address)
    if kind == socket.SOCK_STREAM:
        one.listen()
    one.setblocking(False)
    return one


def was_reached(one: socket.socket) -> bool:
    """Whether anybody connected or sent something."""
    try:
        if one.type == socket.SOCK_DGRAM:
            return bool(one.recv(1))
        one.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def cgroups() -> list[Path]:
    """The folders of this process's control groups that may be written to."""
    lines = [line.split(":", 2) for line in read("/proc/self/cgroup").splitlines()]
    paths = [Path("/sys/fs/cgroup", names.removeprefix("name="), path.lstrip("/")) for _, names, path in lines]
    return [path for path in paths if path.is_dir()]


def read(path: str) -> str:
    """A file's text, empty where it cannot be read."""
    with contextlib.suppress(OSError):
        return Path(path).read_text()
    return ""
