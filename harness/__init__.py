"""diffharness: proves speed claims about diffusion pipelines.

    import harness

    record = harness.evaluate("baseline.py", "candidate.py", req_speedup=1.5)
    comparison = harness.compare_model_configs("reference.py", "candidate.py")

Importing it loads neither torch nor ray, and what it offers is imported when it is asked for: the process that reads
model files needs `harness.modelfile` alone.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.config import Config, load_config
    from harness.driver import evaluate, run
    from harness.modelfile import ModelConfig, compare_model_configs
    from harness.records import PairRecord

__all__ = [
    "Config",
    "ModelConfig",
    "PairRecord",
    "compare_model_configs",
    "evaluate",
    "load_config",
    "run",
]

_HOMES = {
    "Config": "harness.config",
    "ModelConfig": "harness.modelfile",
    "PairRecord": "harness.records",
    "compare_model_configs": "harness.modelfile",
    "evaluate": "harness.driver",
    "load_config": "harness.config",
    "run": "harness.driver",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
