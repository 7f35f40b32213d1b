"""diffharness: proves speed claims about diffusion pipelines.

    import harness

    record = harness.evaluate("baseline.py", "candidate.py", req_speedup=1.5)
    comparison = harness.compare_model_configs("reference.py", "candidate.py")

Importing it loads neither torch nor ray.
"""

from harness.config import Config, load_config
from harness.driver import evaluate, run
from harness.modelfile import ModelConfig, compare_model_configs
from harness.records import PairRecord

__all__ = ["Config", "ModelConfig", "PairRecord", "compare_model_configs", "evaluate", "load_config", "run"]
