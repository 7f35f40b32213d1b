"""The corpus as data: the table of README.md, and the pair that each rogue is the candidate of."""

import ast
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from actors.messages import REJECTING, Job, Limits, ModelFile, Outcome, Plan, Sign, Status
from actors.model_config import ModelConfig
from harness.evaluation import Sources, make_record
from harness.figures import SequentialDesign
from harness.judge import Criteria
from harness.records import Demands, PairRecord, Protocol, RareLosses
from harness.requirement import Requirement
from harness.stopping import StopWhenKnown
from harness.tasks import Difficulty, Pair, Task

FOLDER = Path(__file__).parent
LIBRARY = FOLDER / "lib"
ELSEWHERE = ("lib", "gpu")  # the pipeline, and the rogues that need a GPU
HONEST_FILE = FOLDER / "honest" / "baseline.py"

REQUIRED = 1.5  # no rogue is this much faster and passes
BATCHES = 6
CRITERIA = Criteria(Protocol.STRICT, max_quality_loss=0.05)
# A dozen images cannot exclude rare losses, and a table in which nothing can pass would show nothing.
DESIGN = SequentialDesign(0.95, BATCHES, rare_losses=RareLosses.ASSUME_NONE)
REFERENCE = ModelConfig("ToyPipeline", "tests/toyfusion", "ToyScheduler", 20)
LIMITS = Limits(
    start_s=120,
    load_s=60,
    warmup_s=60,
    call_s=60,
    output_bytes=200_000,
    memory_bytes=3 * 2**29,
    processes=256,
    open_files=512,
    scratch_bytes=2**26,
    file_bytes=2**30,
    image_pixels=128 * 128,
)
HANGING = replace(LIMITS, load_s=5, warmup_s=5, call_s=5)  # for rogues that must run into a time limit
PAIRS: Counter[str] = Counter()  # of each file: each pair is asked other questions
STARVING = replace(LIMITS, call_s=5)  # for those that would have the baseline run into one
SIZES = ("small", "medium", "large")
COLOURS = ("red", "orange", "green", "cyan", "blue", "purple", "pink")
SHAPES = ("circle", "square", "triangle", "diamond", "ring")
BACKGROUNDS = ("white", "black", "gray", "yellow")
# Prompts that the embedded CLIP model knows.
CAPTIONS = tuple(
    (f"a {size} {colour} {shape} on a {ground} background",)
    for size, colour, shape, ground in itertools.product(SIZES, COLOURS, SHAPES, BACKGROUNDS)
)


@dataclass(frozen=True)
class Row:
    """One row of the table. `becomes`: what it may end as; `says`: in the detail, or the sign where it is rejected."""

    file: str
    tries: str
    becomes: tuple[str, ...]
    says: str
    also: tuple[str, ...]  # weaker tiers that promise the same, "user": an ordinary user, "full": not always tried

    @property
    def is_honest(self) -> bool:
        """Whether it must not be punished."""
        return self.file.startswith("honest/")

    @property
    def source(self) -> bytes:
        """The model file's text."""
        return (FOLDER / self.file).read_bytes()


def read_table() -> list[Row]:
    """The rows of README.md, in their order."""
    lines = [line for line in (FOLDER / "README.md").read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]
    rows = [row for row in cells if len(row) == 5 and row[0].endswith(".py")]
    return [
        Row(file, tries, tuple(becomes.split(" or ")), says, tuple(also.split()))
        for file, tries, becomes, says, also in rows
    ]


def model_files() -> list[str]:
    """Every model file of the corpus, as the table names it."""
    paths = [path.relative_to(FOLDER) for path in FOLDER.glob("*/*.py")]
    return sorted(str(path) for path in paths if path.parts[0] not in ELSEWHERE)


def header(file: str) -> str:
    """What a model file's docstring says, on one line."""
    return " ".join((ast.get_docstring(ast.parse((FOLDER / file).read_text())) or "").split())


def limits_of(row: Row) -> Limits:
    """The limits that its child runs under."""
    if row.file.startswith("blame/"):
        return STARVING
    return HANGING if "timeout" in row.becomes else LIMITS


def together(rows: Sequence[Row]) -> tuple[Row, bytes]:
    """One model file that tries one thing after the other, and a row for it. Only for what is tried at import."""
    return replace(rows[0], file=f"{rows[0].file} and others"), b"\n".join(row.source for row in rows)


def job(row: Row, source: bytes | None = None) -> Job:
    """The pair of the honest baseline and this model file. A sign that the row names is made to reject."""
    PAIRS[row.file] += 1
    plan = Plan(
        key=f"{row.file} {PAIRS[row.file]}",
        batch_size=2,
        warmup_at_least=2,
        warmup_at_most=2,
        warmup_agreement=0.15,
        burn_in=1,
        starts=1,
        stretches=0,
        batches=BATCHES,
        repeats=1,
        profile=False,
        stop=StopWhenKnown(Demands(req_speedup=REQUIRED), CRITERIA, DESIGN, 2 * BATCHES, 0.02),
        reject=REJECTING | signs_of(row),
    )
    baseline = file_of(HONEST_FILE.read_bytes())
    return Job(row.file, 1, baseline, file_of(source or row.source), baseline, REFERENCE, plan, limits_of(row))


def file_of(source: bytes) -> ModelFile:
    """A model file as it travels; its path tells nothing of where it lies."""
    return ModelFile("/nowhere/candidate.py", source, {"guidance_scale": 3.0})


def signs_of(row: Row) -> set[Sign]:
    """The signs of which one must be found where the pair is rejected."""
    return {Sign(name) for name in row.says.split(" or ")} if "rejected" in row.becomes else set()


def record_of(outcome: Outcome) -> PairRecord:
    """The record and verdict of a pair of which a speedup is required."""
    task = Task(outcome.pair, "", Difficulty.MEDIUM, 1, HONEST_FILE, HONEST_FILE, Requirement(speedup=REQUIRED))
    pair = Pair(task, FOLDER / outcome.pair)
    return make_record(pair, Sources(), outcome, CRITERIA, DESIGN, datetime.now(UTC))


def ended_as(becomes: str, row: Row, outcome: Outcome, record: PairRecord, honest_high: float) -> bool:
    """Whether an outcome is one that the row allows. honest_high: the upper end of the honest pair's speedup."""
    measured = outcome.status is Status.MEASURED
    found, named = {finding.sign for finding in outcome.findings}, signs_of(row)
    if becomes == "undetected":
        return True
    if becomes == "harmless":  # it gained nothing: neither time nor a verdict
        return measured and record.speedup_low is not None and record.speedup_low <= honest_high
    if becomes == "quality":
        return measured and record.reason == "quality"
    if becomes == "measured":
        return measured and not found & REJECTING
    if becomes == "rejected":
        return outcome.status is Status.REJECTED and bool(found & named)
    return outcome.status is Status(becomes) and (bool(named) or row.says in outcome.detail)
