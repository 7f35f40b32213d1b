"""What a model file sees and may do inside a child: without torch, so that a child is there in a moment."""

import ast
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from actors.messages import Limits, SandboxSpec
from actors.sandbox import Child, ChildFailure, tier_problem
from actors.tiers import Device
from tests.actors.model_files import model_file

QUICK = Limits(start_s=120, load_s=60, warmup_s=60, call_s=60, output_bytes=200_000)


def tier_param(tier: str) -> Any:
    """The tier as a parameter of a test that is skipped where it does not work."""
    problem = tier_problem(tier)
    return pytest.param(tier, marks=pytest.mark.skipif(problem is not None, reason=f"{tier}: {problem}"))


CONFINING = [tier_param("bwrap"), tier_param("landlock")]
ALL_TIERS = [*CONFINING, "process"]


def spec_for(tier: str, **changes: Any) -> SandboxSpec:
    """A specification of this tier alone, for one thread."""
    return SandboxSpec(**{"tiers": (tier,), "models": {}, "threads": 1, "preimports": (), **changes})


def seen(tier: str, expression: str, before: str = "", spec: SandboxSpec | None = None, limits: Limits = QUICK) -> Any:
    """The value of an expression in a child, a Python literal; or the OSError that it raised, by its name."""
    return all_seen(tier, [expression], before, spec, limits)[0]


def all_seen(
    tier: str, expressions: list[str], before: str = "", spec: SandboxSpec | None = None, limits: Limits = QUICK
) -> list[Any]:
    """The same of several expressions, one after the other in one child."""
    with lasting(tier, expressions, before, spec, limits) as found:
        return found


@contextlib.contextmanager
def lasting(
    tier: str, expressions: list[str], before: str = "", spec: SandboxSpec | None = None, limits: Limits = QUICK
) -> Iterator[list[Any]]:
    """The same; the child is there as long as the block lasts, with what it has opened."""
    tries = [
        f"try: found.append({expression})\nexcept OSError as error: found.append(type(error).__name__)"
        for expression in expressions
    ]
    lines = [
        "import ctypes, os, resource, socket",
        before,
        "found = []",
        *tries,
        "raise ValueError('SEEN' + repr(found))",
    ]
    source = "\n".join(lines)
    with Child(tier, spec or spec_for(tier), Device("cpu"), limits) as child:
        with pytest.raises(ChildFailure) as caught:
            child.ask("load", "load_s", {"path": "/nowhere/x.py", "call": {}, "steps": None}, source.encode())
        _, found, value = caught.value.detail.partition("SEEN")
        assert found, f"{caught.value}\n{caught.value.log}"
        yield ast.literal_eval(value)


def load_and_leave(child: Child, source: str) -> None:
    """Has a child load a model file that does not come back, for as long as the limit on loading lasts."""
    file = model_file(source)
    with pytest.raises(ChildFailure):
        child.ask("load", "load_s", {"path": file.path, "call": {}, "steps": None}, file.source)
