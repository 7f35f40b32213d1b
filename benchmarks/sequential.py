"""The plain protocol that diffharness is compared with: one process, and for every pair everything anew.

    python benchmarks/sequential.py --anno examples/anno.json --gen examples/gen.json \
      --config configs/quickstart.yaml --set evaluation.seed=0 --pairs 8 --out sequential.json

This is how published evaluators go about a pair, with the care that a careful user of them takes: the reference is
loaded and looked at, then the baseline, the candidate and the CLIP model are loaded; both sides are warmed up; all
batches of the baseline are timed, then all of the candidate; the PIL images are scored one by one. Captions, the
size of a batch, arguments, model names and the way a model file is called are those of `diffharness run` with the same
configuration and seed, so that the two differ in the protocol alone.

Nothing is isolated: a candidate that hangs holds up the script, and what one changes in torch stays changed.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import diffusers
import numpy as np
import open_clip
import torch
import transformers
import typer
from PIL import Image
from scipy.stats import ttest_ind  # type: ignore[import-untyped]

from actors.child import LoadedModel
from actors.draws import Draw, draw
from actors.messages import Batch, Layout
from actors.model_config import differences, live_config
from actors.tiers import link_models
from harness.config import Config, load_config
from harness.embedded import EMBEDDED_SCORERS
from harness.planning import FileReader, captions_of, draw_secret, measuring_plan, sequential_design
from harness.requirement import Requirement
from harness.tasks import Pair, load_pairs

WARMUP_BATCHES = 2
PHASES = ("load", "warmup", "timed", "scoring")

ClipScore = Callable[[Image.Image, str], float]


@dataclass
class Result:
    """What the protocol finds of a pair. Seconds; figures are None where the pair ended in `error`."""

    prompt_id: str
    candidate: str
    images: int  # of each side
    error: str | None = None
    speedup: float | None = None  # mean over mean
    speedup_low: float | None = None  # None, too, where there is one batch alone
    speedup_high: float | None = None
    quality_loss: float | None = None  # None, too, where the baseline's mean CLIP score is not positive
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    wall_s: float = 0.0


def evaluate(pair: Pair, prompts: Draw, reader: FileReader, result: Result) -> None:
    """Measures a pair and puts what it finds into `result`. Raises whatever the model files raise."""
    with clock(result, "load"):
        reference = load(pair.task.reference_file, reader)
        wanted = live_config(reference.pipe, reference.steps())
        del reference
        free()
        baseline, candidate = load(pair.task.baseline_file, reader), load(pair.candidate_file, reader)
        different = differences(wanted, live_config(candidate.pipe, candidate.steps()))
        if different:
            raise ValueError("; ".join(str(difference) for difference in different))
        clip_score = load_clip(reader.config)
    with clock(result, "warmup"):
        for model in (baseline, candidate):
            run_batches(model, prompts.warmup[0][:WARMUP_BATCHES])
    with clock(result, "timed"):
        baseline_s, baseline_images = run_batches(baseline, prompts.timed)
        candidate_s, candidate_images = run_batches(candidate, prompts.timed)
    result.speedup = sum(baseline_s) / sum(candidate_s)
    result.speedup_low, result.speedup_high = welch(baseline_s, candidate_s, reader.config.evaluation.confidence)
    with clock(result, "scoring"):
        texts = [text for batch in prompts.timed for text in batch.prompts]
        before = np.mean([clip_score(image, text) for image, text in zip(baseline_images, texts, strict=True)])
        after = np.mean([clip_score(image, text) for image, text in zip(candidate_images, texts, strict=True)])
        result.quality_loss = float((before - after) / before) if before > 0 else None


@contextmanager
def clock(result: Result, phase: str) -> Iterator[None]:
    """Notes the seconds that a phase took, also of one that raises."""
    start = time.perf_counter()
    try:
        yield
    finally:
        result.seconds[phase] = time.perf_counter() - start


def load(path: Path, reader: FileReader) -> LoadedModel:
    """A model file's pipeline, in this process."""
    file, _ = reader.read(path)
    return LoadedModel(file.path, file.source, file.call, file.steps)


def load_clip(config: Config) -> ClipScore:
    """The CLIP score of one image and its prompt: 100 x cosine, by the configured open_clip model."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    folder = EMBEDDED_SCORERS.get(config.scorer.model)
    name = f"local-dir:{folder}" if folder else config.scorer.model
    model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=config.scorer.pretrained)
    tokenizer = open_clip.get_tokenizer(name)
    model.float().to(device).eval()

    @torch.inference_mode()
    def clip_score(image: Image.Image, prompt: str) -> float:
        pixels = model.encode_image(preprocess(image)[None].to(device), normalize=True)
        text = model.encode_text(tokenizer([prompt]).to(device), normalize=True)
        return 100 * float((pixels * text).sum())

    return clip_score


def run_batches(model: LoadedModel, batches: Sequence[Batch]) -> tuple[list[float], list[Image.Image]]:
    """The seconds of each call, and the images of all of them."""
    seconds: list[float] = []
    images: list[Image.Image] = []
    for batch in batches:
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in batch.seeds]
        torch.manual_seed(batch.seeds[0])
        synchronize()
        start = time.perf_counter()
        output: Any = model.forward(list(batch.prompts), **model.call, generator=generators, output_type="pil")
        synchronize()
        seconds.append(time.perf_counter() - start)
        images += getattr(output, "images", output)
    return seconds, images


def synchronize() -> None:
    """Waits for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def welch(baseline_s: list[float], candidate_s: list[float], confidence: float) -> tuple[float | None, float | None]:
    """Interval of the ratio of the two geometric means: Welch's t on the log seconds of two independent samples.

    Nones where a side has one batch alone.
    """
    test = ttest_ind(np.log(baseline_s), np.log(candidate_s), equal_var=False)
    low, high = test.confidence_interval(confidence)
    return (math.exp(low), math.exp(high)) if math.isfinite(low) else (None, None)


def free() -> None:
    """Gives back the memory of pipelines that nobody refers to any more."""
    sys.modules.pop("model_file", None)  # the module of the last model file may hold a global `pipe`
    gc.collect()  # helpers and the pipelines that they patch refer to each other
    torch.cuda.empty_cache()


def describe(result: Result) -> str:
    """One line for a person."""
    seconds = ", ".join(f"{phase} {value:.1f}" for phase, value in result.seconds.items())
    line = f"{result.prompt_id} {result.candidate}: "
    if result.error is not None:
        return line + f"{result.error} | {seconds} s"
    line += f"speedup {result.speedup:.3f}"
    if result.speedup_low is not None:
        line += f" ({result.speedup_low:.3f} to {result.speedup_high:.3f})"
    loss = "-" if result.quality_loss is None else f"{100 * result.quality_loss:.1f}%"
    return line + f", loss {loss} | {seconds} s"


def summarise(results: Sequence[Result], config: Config) -> dict[str, Any]:
    """The results as they are written, with the rate and the share of every phase in the pairs' time."""
    wall_s = sum(result.wall_s for result in results)
    return {
        "config": config.model_dump(mode="json", exclude={"pool"}),
        "pairs_per_hour": 3600 * len(results) / wall_s,
        "shares": {phase: sum(result.seconds[phase] for result in results) / wall_s for phase in PHASES},
        "pairs": [asdict(result) for result in results],
    }


def evaluate_all(pairs: Sequence[Pair], prompts: Draw, reader: FileReader) -> Iterator[Result]:
    """The result of each pair, as soon as it is known; the model names that the files ask for lead to their folders."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        link_models(reader.models, Path(folder))
        for pair in pairs:
            result = Result(pair.task.prompt_id, pair.candidate_file.stem, sum(len(b.prompts) for b in prompts.timed))
            start = time.perf_counter()
            try:
                evaluate(pair, prompts, reader, result)
            except Exception as error:  # whatever a model file does, the next pair has its turn
                result.error = f"{type(error).__name__}: {str(error)[:300]}"
            free()
            result.wall_s = time.perf_counter() - start
            yield result


def main(
    anno: Annotated[Path, typer.Option(help="The annotation file.")],
    gen: Annotated[Path, typer.Option(help="The generated file.")],
    out: Annotated[Path, typer.Option(help="JSON file of the results; written after every pair.")],
    config: Annotated[Path | None, typer.Option(help="YAML, as of diffharness run.")] = None,
    overrides: Annotated[list[str], typer.Option("--set", help="key=value; repeatable.")] = [],  # noqa: B006
    pairs: Annotated[int | None, typer.Option(help="Only the first so many pairs.", min=1)] = None,
) -> None:
    """Measure the pairs one after the other by the plain protocol."""
    settings, out = load_config(config, overrides), out.absolute()
    if settings.pool.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    reader = FileReader(settings)
    # The same prompts for all pairs, as in the protocol that this shows.
    plan = measuring_plan("all", Requirement(), draw_secret(settings), settings, sequential_design(settings))
    plan = replace(plan, starts=1, repeats=0)
    prompts = draw(captions_of(settings), plan, Layout.INTERLEAVED)
    todo = [pair for pair in load_pairs(anno.absolute(), gen.absolute(), settings.task_keys) if isinstance(pair, Pair)]
    todo = todo[:pairs]
    if not todo:
        raise typer.BadParameter(f"no task of {anno} has a candidate in {gen}; give them one prompt_id")
    for pair in todo:
        reader.read_trusted(pair.task.reference_file)
        reader.read_trusted(pair.task.baseline_file)
    results: list[Result] = []
    for result in evaluate_all(todo, prompts, reader):
        results.append(result)
        print(describe(result), flush=True)
        out.write_text(json.dumps(summarise(results, settings), indent=1), encoding="utf-8")
    summary = summarise(results, settings)
    shares = ", ".join(f"{phase} {100 * share:.0f}%" for phase, share in summary["shares"].items())
    print(f"{summary['pairs_per_hour']:.1f} pairs per hour: {shares}")


if __name__ == "__main__":
    typer.run(main)
