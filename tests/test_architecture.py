"""The rules of the design that code tends to drift from."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted([*(ROOT / "harness").rglob("*.py"), *(ROOT / "actors").rglob("*.py")])


def imported(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def needed(names: set[str]) -> set[str]:
    """Without the packages that only stand for a module in them: `from harness import stats` needs `harness.stats`."""
    return {name for name in names if not any(other.startswith(f"{name}.") for other in names)}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize(
    "command", ["import harness", "import sys; sys.argv = ['x', '--help']; from harness.cli import app; app()"]
)
def test_importing_and_helping_load_neither_torch_nor_ray(command):
    heavy = ["torch", "ray", "diffusers", "transformers", "open_clip", "datasets"]
    check = f"import sys, atexit; atexit.register(lambda: print('LOADED', [m for m in {heavy} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", f"{check}\n{command}"], capture_output=True, text=True, cwd=ROOT)
    assert "LOADED []" in done.stdout, done.stdout + done.stderr


def test_only_the_pool_imports_ray():
    users = {module_name(path) for path in MODULES if any(n.split(".")[0] == "ray" for n in imported(path))}
    assert users == {"actors.pool"}


@pytest.mark.parametrize("path", sorted((ROOT / "actors").rglob("*.py")), ids=lambda path: path.name)
def test_the_lower_floor_knows_nothing_of_the_upper_one(path):
    assert not [name for name in imported(path) if name.split(".")[0] in ("harness", "training", "tests")]


def test_no_import_circle():
    known = {module_name(path): path for path in MODULES}
    edges = {name: needed(imported(path) & known.keys() - {name}) for name, path in known.items()}
    open_, done = [], set()

    def visit(name: str) -> None:
        assert name not in open_, f"circle: {' -> '.join([*open_, name])}"
        if name not in done:
            open_.append(name)
            for other in sorted(edges[name]):
                visit(other)
            done.add(open_.pop())

    for name in edges:
        visit(name)


def test_nothing_unpickles_what_a_model_file_made():
    for path in MODULES:
        assert not imported(path) & {"pickle", "cloudpickle", "marshal", "shelve", "dill"}, path


def test_no_drawer_for_everything():
    assert not [path for path in MODULES if path.stem in ("utils", "util", "helpers", "misc", "common")]
