"""What is kept while a program is followed: what it was seen to do, and where in it the names are looked up."""

from dataclasses import dataclass, field

from harness.modelfile.state import State
from harness.modelfile.values import Value


@dataclass
class Trace:
    """What a part of the program was seen to do.

    `seen` holds "torch.compile" for a name of a library that is used, ".half" for a method called on some object,
    ".f(text)" for the same with a text among its arguments (in lower case), "Class.f" for a method of an object whose
    class is known, and "Class()" for such an object made. `steps` holds `num_inference_steps` of every call of a
    pipeline whose images are used, UNKNOWN where it is left to the pipeline.
    """

    seen: set[str] = field(default_factory=set)
    steps: list[Value] = field(default_factory=list)


@dataclass
class Frame:
    """A function, class body or module that is being followed: its scopes, innermost first."""

    scopes: tuple[int, ...]
    inner_scopes: tuple[int, ...]  # what functions defined here see: a class body's own names they do not
    redirected: dict[str, int] = field(default_factory=dict)  # `global` and `nonlocal` names
    returns: list[tuple[Value, State]] = field(default_factory=list)
