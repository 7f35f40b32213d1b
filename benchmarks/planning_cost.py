"""What it costs to plan a run: to read its model files, each in a process of its own, and to lay out its calls.

    python benchmarks/planning_cost.py --pairs 1000

Every candidate is a file of its own, of about 60 lines, and all share one baseline. Nothing is measured, and no GPU is
needed.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from actors.messages import Job
from harness.config import Config
from harness.planning import FileReader, files_of, plan_pair, sequential_design
from harness.tasks import load_pairs

BASELINE = """
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

MODEL = "diffharness/tiny-shapes"


def load_pipe():
    pipe = StableDiffusionPipeline.from_pretrained(MODEL, torch_dtype=torch.float32)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    return pipe


def pipe_forward(pipe, prompts, **call):
    return pipe(prompts, num_inference_steps=20, **call)
"""
MORE = '''

def tune_{number}(pipe, level={number}):
    """One of the things that a candidate tries."""
    for name in ("unet", "vae", "text_encoder"):
        module = getattr(pipe, name, None)
        if module is None:
            continue
        if level > {number} and hasattr(module, "fuse_qkv_projections"):
            module.fuse_qkv_projections()
    return pipe
'''


def main(
    pairs: Annotated[int, typer.Option(min=1, help="How many pairs, each with a candidate file of its own.")] = 1000,
    times: Annotated[int, typer.Option(min=1, help="How often; the first starts the process that reads.")] = 3,
) -> None:
    """Plans a run of so many pairs, and prints how long that takes."""
    with tempfile.TemporaryDirectory(prefix="diffharness-planning-") as folder:
        write_tasks(Path(folder), pairs)
        for _ in range(times):
            seconds, jobs = plan(Path(folder))
            cpus = len(os.sched_getaffinity(0))
            each = f"{1000 * seconds / pairs:.2f} ms each"
            print(f"{jobs} of {pairs} pairs planned in {seconds:.2f} s on {cpus} CPUs: {each}")


def write_tasks(folder: Path, pairs: int) -> None:
    """The two JSON files and the model files of a run."""
    (folder / "baseline.py").write_text(BASELINE)
    task = {"prompt_context": "", "difficulty": "easy", "gt_file": "baseline.py", "baseline_file": "baseline.py"}
    for number in range(pairs):
        functions = "".join(MORE.format(number=1000 * part + number) for part in range(4))
        (folder / f"candidate-{number}.py").write_text(BASELINE + functions)
    anno = [{"prompt_id": number, **task} for number in range(pairs)]
    gen = [{"prompt_id": number, "gen_file": f"candidate-{number}.py"} for number in range(pairs)]
    (folder / "anno.json").write_text(json.dumps(anno))
    (folder / "gen.json").write_text(json.dumps(gen))


def plan(folder: Path) -> tuple[float, int]:
    """The seconds that planning takes, and the jobs that it ends in."""
    pairs, config = load_pairs(folder / "anno.json", folder / "gen.json"), Config()
    start = time.perf_counter()
    design, reader = sequential_design(config), FileReader(config)
    reader.prefetch(files_of(pairs))
    planned = [plan_pair(pair, "secret", config, design, reader) for pair in pairs]
    return time.perf_counter() - start, sum(isinstance(one.next, Job) for one in planned)


if __name__ == "__main__":
    typer.run(main)
