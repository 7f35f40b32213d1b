"""A run: plan -> pool -> records. The driver is trusted, runs no model file, and touches no GPU."""

from __future__ import annotations

import hashlib
import platform
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from actors.machine import installed_versions
from actors.messages import (
    BatchRow,
    ImageRow,
    Job,
    Outcome,
    PoolSpec,
    SandboxSpec,
    ScorerSpec,
    Status,
)
from harness.captions import Captions
from harness.config import Config, ConfigError, require_limits
from harness.embedded import EMBEDDED_PIPELINES, EMBEDDED_SCORERS
from harness.evaluation import make_record
from harness.figures import SequentialDesign
from harness.planning import (
    FileReader,
    Planned,
    captions_of,
    criteria,
    draw_secret,
    files_of,
    plan_pair,
    prompt_id,
    sequential_design,
)
from harness.records import PairRecord
from harness.rejudge import intervals_of_passed
from harness.report.display import Display, NullDisplay
from harness.requirement import read_requirement
from harness.result_set import ResultSet, UnstorableError
from harness.run_info import read_continued, write_end
from harness.run_statistics import summarise
from harness.tasks import Difficulty, Pair, Task, load_pairs


def run(
    anno: Path, gen: Path, out: Path, config: Config, display: Display | None = None, command: str = "harness.run"
) -> list[PairRecord]:
    """Measures every pair of an annotation and a generated file that the result set `out` has not finished yet.

    A record of a pair whose model files have changed since, or whose measuring failed through no fault of theirs, is
    replaced. command: what run.json says the run was started with. Returns all records of the result set.
    Raises TaskError, ConfigError, CalibrationError, CaptionsError, ReaderError, ResultSetError and PoolError before
    anything is measured, and ResultSetError where the disk is full; that and KeyboardInterrupt leave a result set that
    a later run continues.
    """
    pairs = load_pairs(anno, gen, config.task_keys)
    read_continued(out)  # a folder that cannot be written to is refused before the captions are read
    secret, captions = draw_secret(config), captions_of(config)
    design, reader = sequential_design(config), FileReader(config)
    reader.prefetch(files_of(pairs))
    planned = {prompt_id(pair): plan_pair(pair, secret, config, design, reader) for pair in pairs}
    display = display or NullDisplay()
    with ResultSet.open(out, run_info(config, command, anno, gen), list(planned)) as results:
        stored = ResultSet.load(out)
        results.reopen(record.prompt_id for record in stored if outdated(record, planned[record.prompt_id]))
        todo = {name: plan for name, plan in planned.items() if name not in results.finished()}
        display.start(len(planned), len(planned) - len(todo))
        out_of_use = measure(todo, design, reader, captions, display, results.append)
        summary = summarise(ResultSet.load(out))
        statistics = {**summary.as_dict(), "intervals_of_passed": intervals_of_passed(out)}
        write_end(out, summary.spent.as_dict(), statistics, out_of_use)
    return ResultSet.load(out)


def outdated(record: PairRecord, plan: Planned) -> bool:
    """Whether a pair that has a record is to be measured again, for its model files as they are now."""
    if record.status is Status.INFRASTRUCTURE:
        return True
    if isinstance(plan.next, Outcome) and plan.next.status is Status.BASELINE_FAILED:
        return False  # nothing can be measured now, such as where the model is not on this machine
    before = (record.baseline_sha256, record.candidate_sha256, record.reference_sha256)
    return before != (plan.sources.baseline.sha256, plan.sources.candidate.sha256, plan.sources.reference.sha256)


def evaluate(
    baseline: str | Path,
    candidate: str | Path,
    *,
    reference: str | Path | None = None,
    req_speedup: float | None = None,
    req_latency_s: float | None = None,
    max_quality_loss: float | None = None,
    config: Config | None = None,
    display: Display | None = None,
) -> PairRecord:
    """Measures one candidate against one baseline, and returns its record.

    reference: the file whose pipeline class, model, scheduler and steps the candidate must share; the baseline where
    it is None. req_speedup: at least, times. req_latency_s: at most, seconds per image. max_quality_loss: at most, as
    a fraction of the baseline's CLIP score; the configuration's where it is None.
    Raises ConfigError, CalibrationError, CaptionsError, ReaderError and PoolError; whatever the files do is a status of
    the record.
    """
    require_limits(req_speedup=req_speedup, req_latency_s=req_latency_s, max_quality_loss=max_quality_loss)
    config = config or Config()
    requirement = read_requirement("", speedup=req_speedup, latency_s=req_latency_s, max_quality_loss=max_quality_loss)
    task = Task(
        prompt_id=Path(candidate).stem,
        context="",
        difficulty=Difficulty.EASY,
        level=None,
        reference_file=Path(reference or baseline),
        baseline_file=Path(baseline),
        requirement=requirement,
    )
    display = display or NullDisplay()
    records: list[PairRecord] = []
    display.start(1, 0)
    captions = captions_of(config)
    design, pair, reader = sequential_design(config), Pair(task, Path(candidate)), FileReader(config)
    reader.prefetch(files_of([pair]))
    plan = plan_pair(pair, draw_secret(config), config, design, reader)
    measure({task.prompt_id: plan}, design, reader, captions, display, lambda record, *_: records.append(record))
    return records[0]


def measure(
    planned: Mapping[str, Planned],
    design: SequentialDesign,
    reader: FileReader,
    captions: Captions,
    display: Display,
    store: Callable[[PairRecord, Sequence[BatchRow], Sequence[ImageRow]], None],
) -> list[str]:
    """Measures what has to be measured of some pairs and stores a record of every one as soon as it is known.

    planned: by prompt id. reader: the one that read their files. captions: of each row of the data set.
    store: may raise UnstorableError.
    Returns a line for each actor that was lost on the way, such as one whose GPU cannot be trusted any more.
    Raises ConfigError and PoolError before the first pair is measured, and what else `store` raises.
    """
    config = reader.config
    jobs = [plan.next for plan in planned.values() if isinstance(plan.next, Job)]
    require_fitting_scorer(config, jobs)
    pool = pool_spec(config, reader.models, captions)

    def finish(outcome: Outcome) -> None:
        plan = planned[outcome.pair]
        now = datetime.now(UTC)
        record = make_record(plan.pair, plan.sources, outcome, criteria(config), design, now)
        try:
            store(record, outcome.batches, outcome.images)
        except UnstorableError as error:  # no sound actor sends such values, and they must not end the run
            outcome = Outcome(outcome.pair, outcome.attempt, Status.INFRASTRUCTURE, str(error))
            record = make_record(plan.pair, plan.sources, outcome, criteria(config), design, now)
            store(record, (), ())
        display.finished(record)

    for plan in planned.values():
        if isinstance(plan.next, Outcome):
            finish(plan.next)
    if not jobs:
        return []
    from actors.pool import Pool  # Ray takes half a second to import, and a plan without jobs needs none

    with Pool(pool, display.progress) as actors:
        for outcome in actors.run(jobs):
            finish(outcome)
        return actors.out_of_use


def require_fitting_scorer(config: Config, jobs: Sequence[Job]) -> None:
    """Raises ConfigError where the default scorer, which knows nothing but shapes, would score other pictures."""
    if "model" in config.scorer.model_fields_set:
        return
    for job in jobs:
        model = job.reference_config.model_id
        if model is not None and model not in EMBEDDED_PIPELINES:
            raise ConfigError(
                f"scorer.model is not set, and the embedded CLIP model cannot judge pictures of {model!r}: name an "
                "open_clip model, for example --set scorer.model=ViT-L-14 --set scorer.pretrained=openai (for times "
                f"alone, keep the embedded one by its name: --set scorer.model={config.scorer.model})"
            )


def pool_spec(config: Config, models: Mapping[str, str], captions: Captions) -> PoolSpec:
    """What the actors are started with."""
    scorer = EMBEDDED_SCORERS.get(config.scorer.model)
    return PoolSpec(
        address=config.pool.address,
        device=config.pool.device,
        actors=config.pool.actors,
        sandbox=SandboxSpec(
            tiers=config.sandbox.tiers,
            models=models,
            visible=tuple(str(folder.absolute()) for folder in config.sandbox.visible),
            environment=config.sandbox.environment,
            preimports=config.sandbox.preimports,
        ),
        scorer=ScorerSpec(f"local-dir:{scorer}" if scorer else config.scorer.model, config.scorer.pretrained),
        captions=captions,
        limits=config.limits,
    )


def run_info(config: Config, command: str, anno: Path, gen: Path) -> dict[str, Any]:
    """What run.json says of a run.

    The hashes are part of the configuration, so that a run is not continued with other tasks. The paths are not: Ray
    has each job run in a copy of its folder, under another name. The secret of the run is kept nowhere: what was asked
    is in images.parquet, and nobody is asked it again.
    """
    tasks = {
        "anno_sha256": hashlib.sha256(anno.read_bytes()).hexdigest(),
        "gen_sha256": hashlib.sha256(gen.read_bytes()).hexdigest(),
    }
    return {
        "config": {**config.model_dump(mode="json", exclude={"pool"}), "tasks": tasks},
        "anno": str(anno.absolute()),
        "gen": str(gen.absolute()),
        "command": command,
        "started": datetime.now(UTC).isoformat(),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "versions": installed_versions(),
    }
