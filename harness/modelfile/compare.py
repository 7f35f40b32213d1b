"""Compares the configurations of a reference and a candidate."""

from dataclasses import dataclass
from pathlib import Path

from actors.model_config import Difference, ModelConfig, differences
from harness.modelfile.reader import read_model_file


@dataclass(frozen=True)
class Comparison:
    """Two configurations and what they differ in; `str()` gives a line for each difference."""

    reference: ModelConfig
    candidate: ModelConfig
    differences: tuple[Difference, ...]

    @property
    def matches(self) -> bool:
        """Whether no fact that both sides know differs."""
        return not self.differences

    def __str__(self) -> str:
        return "\n".join(str(difference) for difference in self.differences)


def compare_model_configs(reference: str | Path | ModelConfig, candidate: str | Path | ModelConfig) -> Comparison:
    """Compare pipeline class, model id, scheduler class and steps of two model files or configurations.

    What a source leaves open is None and no difference: it is decided when the pipeline is loaded. Raises
    ModelFileError for a file that nothing can be read from.
    """
    first, second = _config(reference), _config(candidate)
    return Comparison(first, second, differences(first, second))


def _config(source: str | Path | ModelConfig) -> ModelConfig:
    return source if isinstance(source, ModelConfig) else read_model_file(Path(source))
