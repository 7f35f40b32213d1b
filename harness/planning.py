"""What a run is going to do: model files are read, pairs checked by their sources, the calls of each laid out."""

from __future__ import annotations

import hashlib
import math
import os
import posixpath
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from actors.messages import REJECTING, Job, ModelFile, Outcome, Plan, Status
from harness import stats
from harness.calibration import read_calibration, start_spread
from harness.captions import Captions, read_captions, require_enough
from harness.config import Config, ConfigError
from harness.embedded import EMBEDDED_PIPELINES
from harness.evaluation import SourceFacts, Sources
from harness.figures import SequentialDesign
from harness.judge import Criteria
from harness.modelfile import ModelFileError, Problem, compare_model_configs, read_source, read_sources
from harness.records import Demands, Protocol, RareLosses
from harness.requirement import Requirement
from harness.stopping import MeasureAll, StopWhenKnown
from harness.tasks import Pair, Unpaired

# More batches leave the last look less error, so it then takes more images: of 1000 batches 24% more than of 4 with a
# confidence of 95%, and 28% more with 60%.
MORE_LOOKS = 1.3


@dataclass(frozen=True)
class Planned:
    """A pair before it is measured: a job, or an outcome where none is needed."""

    pair: Pair | Unpaired
    sources: Sources
    next: Job | Outcome


class ModelNotFound(ValueError):
    """A baseline or reference file names a model that no child could load."""


def find_model(name: str, beside: Path) -> str:
    """The folder of the model that a file in the folder `beside` calls `name`.

    It is looked for as an absolute path, as one from the file or from here, and in the hub's cache of this user.
    Raises ModelNotFound.
    """
    if Path(name).is_absolute():
        return name
    if ".." in Path(name).parts or Path(name) == Path():
        raise ModelNotFound(f"the model {name!r} lies outside of what a child sees: name it by an absolute path")
    for folder in (beside / name, Path.cwd() / name):
        if folder.is_dir():
            return str(folder.resolve())
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return str(snapshot_download(name, local_files_only=True))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelNotFound(
            f"the model {name!r} is no folder, not under `models` in the configuration, and not in the hub's cache of "
            f"this user; a child has no network, so fetch it first: hf download {name}"
        ) from error


def _as_seen(name: str) -> str:
    """A model's name as a path in a child's working folder: "./model/" is "model"."""
    return name if Path(name).is_absolute() else posixpath.normpath(name)


class FileReader:
    """Reads the model files of a run, each one once, and gathers the local models that trusted ones name."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.models = {name: str(folder) for name, folder in EMBEDDED_PIPELINES.items()}
        for name, folder in config.models.items():
            if not os.path.isdir(folder):  # noqa: PTH112  (it never raises)
                raise ConfigError(f"models.{name}: {folder} is no folder; name one in diffusers' format")
            self.models[_as_seen(name)] = str(folder.absolute())
        self._configured = frozenset(self.models)
        self._read: dict[Path, tuple[ModelFile, SourceFacts] | ModelFileError] = {}

    def prefetch(self, paths: Iterable[Path]) -> None:
        """Reads files ahead, several at once; what is wrong with one is raised when it is asked for.

        Each is opened once: what is parsed is what is hashed and sent with a job. Raises ReaderError.
        """
        sources: dict[Path, bytes] = {}
        for path in dict.fromkeys(paths):
            if path not in self._read:
                try:
                    sources[path] = read_source(path)
                except ModelFileError as error:
                    self._read[path] = error
        for (path, source), stated in zip(sources.items(), read_sources(sources.items()), strict=True):
            if isinstance(stated, ModelFileError):
                self._read[path] = stated
            else:
                steps, methods = stated.num_inference_steps, stated.methods
                file = ModelFile(str(path.absolute()), source, self.config.call, steps, methods)
                self._read[path] = file, SourceFacts(file.sha256, stated)

    def read(self, path: Path) -> tuple[ModelFile, SourceFacts]:
        """The file as it travels, and what its source says. Raises ModelFileError and ReaderError."""
        self.prefetch([path])
        read = self._read[path]
        if isinstance(read, ModelFileError):
            raise read.with_traceback(None)
        return read

    def read_trusted(self, path: Path) -> tuple[ModelFile, SourceFacts]:
        """As `read`; and the model that the file names becomes one that every model file may load.

        Raises ModelFileError, ReaderError and ModelNotFound.
        """
        file, facts = self.read(path)
        name = facts.config.model_id if facts.config else None
        if name is not None and (seen := _as_seen(name)) not in self._configured:
            folder = find_model(name, path.absolute().parent)
            self._require_place(path, seen)
            if self.models.setdefault(seen, folder) != folder:
                raise ModelNotFound(
                    f"{path}: the model {name!r} is {folder} here and {self.models[seen]} for another file of this "
                    "run; name them by absolute paths, or under `models` in the configuration"
                )
        return file, facts

    def _require_place(self, path: Path, name: str) -> None:
        """Raises ModelNotFound where a child cannot see a model under this name beside those that it sees already."""
        others = () if Path(name).is_absolute() else self.models.keys() - {name}
        for other in others:
            if Path(other).is_relative_to(name) or Path(name).is_relative_to(other):
                raise ModelNotFound(
                    f"{path}: the model {name!r} and {other!r} of this run lie in each other; name one of them by an "
                    "absolute path"
                )


def files_of(pairs: Iterable[Pair | Unpaired]) -> Iterator[Path]:
    """Every model file that `plan_pair` reads for these pairs."""
    for pair in pairs:
        if isinstance(pair, Pair):
            yield from (pair.task.reference_file, pair.task.baseline_file, pair.candidate_file)


def plan_pair(
    pair: Pair | Unpaired, secret: str, config: Config, design: SequentialDesign, reader: FileReader
) -> Planned:
    """What is to be done for a pair: nothing where its sources alone decide. secret: of the run, see `draw_secret`."""
    name = prompt_id(pair)
    if isinstance(pair, Unpaired):
        if pair.task is None:
            ended = Outcome(name, 1, Status.MISSING_TASK, "the annotation has no entry for this candidate")
        else:
            ended = Outcome(
                name, 1, Status.MISSING_CANDIDATE, "the annotation has an entry, the generated file has none"
            )
        return Planned(pair, Sources(), ended)
    sources = Sources()
    try:
        reference, reference_facts = reader.read_trusted(pair.task.reference_file)
        baseline, baseline_facts = reader.read_trusted(pair.task.baseline_file)
    except (ModelFileError, ModelNotFound, OSError) as error:
        return Planned(pair, sources, Outcome(name, 1, Status.BASELINE_FAILED, str(error)))
    sources = Sources(baseline=baseline_facts, reference=reference_facts)
    try:
        candidate, candidate_facts = reader.read(pair.candidate_file)
    except ModelFileError as error:
        status = Status.NO_PIPELINE if error.kind is Problem.NO_PIPELINE else Status.BAD_SOURCE
        return Planned(pair, sources, Outcome(name, 1, status, str(error)))
    except OSError as error:
        return Planned(pair, sources, Outcome(name, 1, Status.BAD_SOURCE, str(error)))
    sources = Sources(baseline_facts, candidate_facts, reference_facts)
    assert reference_facts.config is not None and candidate_facts.config is not None
    comparison = compare_model_configs(reference_facts.config, candidate_facts.config)
    if not comparison.matches:
        detail = "; ".join(str(difference) for difference in comparison.differences)
        return Planned(pair, sources, Outcome(name, 1, Status.CONFIG_MISMATCH, detail))
    job = Job(
        pair=name,
        attempt=1,
        baseline=baseline,
        candidate=candidate,
        reference=reference,
        reference_config=reference_facts.config,
        plan=measuring_plan(name, pair.task.requirement, secret, config, design),
        limits=config.limits,
    )
    return Planned(pair, sources, job)


def measuring_plan(name: str, requirement: Requirement, secret: str, config: Config, design: SequentialDesign) -> Plan:
    """How many calls are made for a pair, when they end, and the key that decides what is asked."""
    settings = config.evaluation
    demands = Demands(
        req_speedup=requirement.speedup,
        req_latency_s=requirement.latency_s,
        req_max_quality_loss=requirement.max_quality_loss,
        requirement_problem=requirement.problem,
    )
    strict = Protocol(settings.protocol) is Protocol.STRICT
    known = StopWhenKnown(demands, criteria(config), design, settings.prompts, settings.half_width)
    return Plan(
        key=hashlib.sha256(f"{secret} {name}".encode()).hexdigest(),
        batch_size=settings.batch_size,
        warmup_at_least=settings.warmup_batches,
        warmup_at_most=settings.max_warmup_batches,
        warmup_agreement=settings.agreement,
        burn_in=settings.burn_in,
        starts=settings.restarts,
        stretches=0 if requirement.latency_s is None else stats.LEAST_STRETCHES,
        batches=settings.prompts // settings.batch_size,
        repeats=settings.max_repeats,
        profile=settings.profile,
        stop=known if strict else MeasureAll(),
        reject=REJECTING.union(config.integrity.reject),
    )


def criteria(config: Config) -> Criteria:
    """What the pairs of a run are judged by."""
    return Criteria(Protocol(config.evaluation.protocol), config.evaluation.max_quality_loss)


def sequential_design(config: Config) -> SequentialDesign:
    """When the intervals of a pair are looked at, and what is known of starts. Raises CalibrationError."""
    settings = config.evaluation
    path = config.pool.calibration
    spread = start_spread(read_calibration(path), settings.batch_size) if path else None
    planned = settings.prompts // settings.batch_size
    rare_losses = RareLosses(settings.rare_losses)
    return SequentialDesign(settings.confidence, planned, settings.restarts, spread, rare_losses)


def least_images(config: Config, limit: float) -> tuple[int, int]:
    """With how many images a candidate can pass at least: if one image can lose half of its score, and if all of it.

    limit: of the mean loss, above 0. Raises CalibrationError.
    """
    error = sequential_design(config).error
    return stats.images_needed(0.5, limit, error), stats.images_needed(1.0, limit, error)


def too_few_images(config: Config, max_quality_loss: float | None = None) -> str | None:
    """Why no candidate can pass with so few prompts, in one line with the mend; None if they suffice.

    max_quality_loss: what pairs are judged by if their tasks give no limit; the configuration's if it is None. How much
    one image can lose is measured in the run. Before it both are told: half of its score, and all of it. Raises
    CalibrationError.
    """
    settings = config.evaluation
    limit = settings.max_quality_loss if max_quality_loss is None else max_quality_loss
    bounded = RareLosses(settings.rare_losses) is RareLosses.BOUND
    if Protocol(settings.protocol) is not Protocol.STRICT or not bounded:
        return None
    assume = "evaluation.rare_losses: assume_none"
    if limit == 0:
        return f"no candidate can pass with a limit of 0 (evaluation.max_quality_loss): set it higher, or {assume}"
    half, whole = least_images(config, limit)
    if settings.prompts >= whole:
        return None
    enough = settings.batch_size * math.ceil(MORE_LOOKS * whole / settings.batch_size)
    none = "no candidate can pass" if settings.prompts < half else "perhaps no candidate can pass"
    return (
        f"{none} with {settings.prompts} prompts: it takes {half} to exclude a mean loss above {limit:.1%} by rare "
        f"images if one image can lose half of its score, and {whole} if it can lose all; set evaluation.prompts to "
        f"{enough}, or {assume}"
    )


def draw_secret(config: Config) -> str:
    """What the prompts, seeds and turns of a run are drawn with: 32 fresh random bytes, or the configured seed.

    A shorter secret could be found by trying all of them against one question.
    """
    return secrets.token_hex(32) if config.evaluation.seed is None else f"seed {config.evaluation.seed}"


def captions_of(config: Config) -> Captions:
    """The captions that the prompts of a run are drawn from. Raises CaptionsError."""
    captions = read_captions(config.captions.source, config.captions.column, config.captions.split)
    require_enough(len(captions), config.evaluation)
    return captions


def prompt_id(pair: Pair | Unpaired) -> str:
    """The id of a pair or of a half of one."""
    return pair.task.prompt_id if isinstance(pair, Pair) else pair.prompt_id
