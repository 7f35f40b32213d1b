"""How far honest methods and cheats are from the thresholds of actors/integrity.py, on the embedded pipeline.

    python benchmarks/signs.py --captions 16 --keep results/signs.npz

Draws the same captions and seeds with the baseline (24 steps of DDIM) and with every honest method, makes the cheats
out of the baseline's images, and prints a row for each. Exits with 1 where an honest method would be rejected or a
cheat is not seen. The images are kept in `--keep` and taken from there the next time.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow.parquet as pq
import tomesd
import torch
import typer
from DeepCache import DeepCacheSDHelper
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from tgate import TgateSDLoader

from actors import integrity
from actors.image_statistics import Look, Pixels, distance, look
from actors.messages import REJECTING, Batch, Sign

EMBEDDED = Path(__file__).parent.parent / "harness" / "embedded"
GUIDANCE, STEPS, BATCH = 5.0, 24, 4
SEED, OTHER_SEED = 1000, 9000
Draw = Callable[[list[str]], Pixels]


def pipeline(scheduler: Any = DDIMScheduler, weights: torch.dtype = torch.float32) -> StableDiffusionPipeline:
    """The embedded pipeline. Computes in float32, as every CPU can, with weights that went through `weights`."""
    pipe = StableDiffusionPipeline.from_pretrained(EMBEDDED / "tiny-shapes", safety_checker=None)
    pipe.to(weights).to(torch.float32)
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sampled(call: Callable[..., Any], steps: int = STEPS, seed: int = SEED, **more: Any) -> Draw:
    """Draws captions in batches, each image with a generator of its own, as a child does."""

    def draw(captions: list[str]) -> Pixels:
        images = []
        for start in range(0, len(captions), BATCH):
            prompts = captions[start : start + BATCH]
            generator = [torch.Generator().manual_seed(seed + start + place) for place in range(len(prompts))]
            output = call(
                prompts,
                num_inference_steps=steps,
                guidance_scale=GUIDANCE,
                generator=generator,
                output_type="np",
                **more,
            )
            images.append((np.asarray(output.images).clip(0, 1) * 255).round().astype(np.uint8))
        return np.concatenate(images)

    return draw


def deepcache(interval: int) -> Draw:
    """DeepCache: the deep features on every `interval`-th step."""
    pipe = pipeline()
    helper = DeepCacheSDHelper(pipe=pipe)
    helper.set_params(cache_interval=interval, cache_branch_id=0)
    helper.enable()
    return sampled(pipe)


def tome() -> Draw:
    """ToMe with half of the tokens merged."""
    pipe = pipeline()
    tomesd.apply_patch(pipe, ratio=0.5)
    return sampled(pipe)


def tgate() -> Draw:
    """T-GATE as in the example set."""
    return sampled(TgateSDLoader(pipeline()).tgate, gate_step=10, sp_interval=5, fi_interval=1, warm_up=2)


BASELINE, OTHER_NOISE, BF16 = "baseline", "noise of its own", "weights in bf16"
HONEST: dict[str, Callable[[], Draw]] = {
    BASELINE: lambda: sampled(pipeline()),
    OTHER_NOISE: lambda: sampled(pipeline(), seed=OTHER_SEED),
    "12 steps": lambda: sampled(pipeline(), steps=12),
    "5 steps": lambda: sampled(pipeline(), steps=5),
    "DPM++, 12 steps": lambda: sampled(pipeline(DPMSolverMultistepScheduler), steps=12),
    "UniPC, 8 steps": lambda: sampled(pipeline(UniPCMultistepScheduler), steps=8),
    "Euler ancestral": lambda: sampled(pipeline(EulerAncestralDiscreteScheduler)),
    BF16: lambda: sampled(pipeline(weights=torch.bfloat16)),
    "DeepCache, interval 2": lambda: deepcache(2),
    "DeepCache, interval 3": lambda: deepcache(3),
    "DeepCache, interval 5": lambda: deepcache(5),
    "ToMe 0.5": tome,
    "T-GATE, gate 10": tgate,
}


def stretched(image: Image.Image, kernel: Image.Resampling, factor: float = 2) -> Image.Image:
    """The image made smaller by `factor` and brought back to its size with `kernel`."""
    small = image.resize((int(image.width / factor), int(image.height / factor)), Image.Resampling.BOX)
    return small.resize(image.size, kernel)


def written(image: Image.Image, prompt: str, colour: str) -> Image.Image:
    """The image with its prompt written over it in PIL's own font."""
    image, font = image.copy(), ImageFont.load_default(10)
    draw, lines = ImageDraw.Draw(image), [""]
    for word in prompt.split():
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if draw.textlength(longer, font) < image.width - 2 else [*lines, word]
    draw.multiline_text((1, 0), "\n".join(lines), fill=colour, font=font, spacing=1)
    return image


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    """The image after a JPEG of it."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


Change = Callable[[Image.Image, str], Image.Image]
KERNELS = ("NEAREST", "BOX", "BILINEAR", "BICUBIC", "LANCZOS")


def cheats() -> Iterator[tuple[str, Sign | None, Change]]:
    """Name, the sign that must be found (None: a change that must not be), and what is done to the baseline's image."""
    yield "black", Sign.BLANK_IMAGE, lambda image, _: Image.new("RGB", image.size)
    yield "nearly flat", Sign.BLANK_IMAGE, lambda image, _: image.point(lambda level: 100 + level // 32)
    for name in KERNELS:
        kernel = Image.Resampling[name]
        yield f"half the size, {name}", Sign.UPSCALED, lambda image, _, kernel=kernel: stretched(image, kernel)
    yield "quarter, BICUBIC", Sign.UPSCALED, lambda image, _: stretched(image, Image.Resampling.BICUBIC, 4)
    for colour in ("white", "black", "yellow"):
        yield f"prompt in {colour}", Sign.PAINTED_TEXT, lambda image, text, colour=colour: written(image, text, colour)
    yield (
        "prompt on gray",
        Sign.PAINTED_TEXT,
        lambda image, text: written(Image.new("RGB", image.size, "gray"), text, "black"),
    )
    yield "blur of 0.5 pixels", None, lambda image, _: image.filter(ImageFilter.GaussianBlur(0.5))
    yield "JPEG, quality 75", None, lambda image, _: as_jpeg(image, 75)


def changed(images: Pixels, captions: list[str], change: Change) -> Pixels:
    """Every image with `change` done to it."""
    return np.stack([np.asarray(change(Image.fromarray(a), b)) for a, b in zip(images, captions, strict=True)])


def watched(baseline: Pixels, candidate: Pixels, captions: list[str]) -> integrity.ImageWatch:
    """All images, batch by batch."""
    watch = integrity.ImageWatch()
    for start in range(0, len(captions), BATCH):
        part = slice(start, start + BATCH)
        seeds = tuple(range(SEED + start, SEED + start + len(captions[part])))
        watch.add(Batch(tuple(captions[part]), seeds), start // BATCH, baseline[part], candidate[part])
    return watch


def statistics(baseline: list[Look], candidate: list[Look]) -> str:
    """The worst image of each statistic, in the order of HEADER."""
    detail = [
        max(own / base for own, base in zip(c.detail, b.detail, strict=True))
        for c, b in zip(candidate, baseline, strict=True)
        if c.detail and b.detail and min(b.detail) >= integrity.DETAIL
    ]
    nearest = min(
        distance(one.thumbnail, other.thumbnail) for place, one in enumerate(candidate) for other in candidate[:place]
    )
    values = (
        f"{min(one.tones for one in candidate):.0f}",
        f"{nearest:.1f}",
        f"{min(detail):.3f} to {max(detail):.3f}" if detail else "",
        f"{min(max(one.steps) for one in candidate if one.steps):.4f}",
        f"{min(one.writing for one in candidate):.3f} to {max(one.writing for one in candidate):.3f}",
        f"{integrity.likeness(candidate, baseline):.2f}",
    )
    return " | ".join(values)


HEADER = (
    "| candidate | tones, least | nearest two | detail left | smallest step | writing | likeness | findings |\n"
    "|---|---|---|---|---|---|---|---|"
)
THRESHOLDS = (
    f"| *threshold* | {integrity.BLANK_TONES:g} | {integrity.SAME:g} | {integrity.DETAIL_LEFT:g} | {integrity.STEPS:g} "
    f"| {integrity.WRITING:g} | {integrity.LIKENESS:g} | |"
)


def draw_all(captions: list[str], keep: Path | None) -> dict[str, Pixels]:
    """The images of every honest method, drawn or taken from `keep`."""
    images: dict[str, Pixels] = {}
    if keep and keep.exists():
        with np.load(keep) as kept:
            images = {name: kept[name][: len(captions)] for name in kept.files if len(kept[name]) >= len(captions)}
    for name, make in HONEST.items():
        if name not in images:
            images[name] = make()(captions)
            if keep:
                keep.parent.mkdir(parents=True, exist_ok=True)
                np.savez_compressed(keep, **images)
    return images


def main(
    captions: Annotated[int, typer.Option(help="How many.")] = 16,
    keep: Annotated[Path | None, typer.Option(help="An .npz file that keeps the images.")] = None,
) -> None:
    """Prints the table, and exits with 1 where a row is not as it must be."""
    texts = [row[0] for row in pq.read_table(EMBEDDED / "tiny-shapes-captions.parquet")["captions"].to_pylist()]
    texts = texts[:captions]
    drawn = draw_all(texts, keep)
    base = drawn[BASELINE]
    rows: list[tuple[str, Sign | None, Pixels]] = [(name, None, drawn[name]) for name in HONEST]
    rows += [(name, sign, changed(base, texts, change)) for name, sign, change in cheats()]
    rows.append(("one image for all", Sign.DUPLICATE_IMAGES, np.repeat(base[:1], len(base), 0)))
    rows.append(("the next prompt's image", Sign.UNLIKE_BASELINE, np.roll(base, 1, 0)))
    looks = [look(image) for image in base]
    wrong = 0
    print(HEADER, THRESHOLDS, sep="\n")
    for name, expected, images in rows:
        found = {finding.sign for finding in watched(base, images, texts).findings()}
        right = expected in found if expected else not found & REJECTING
        wrong += not right
        signs = ", ".join(sorted(found)) + ("" if right else " WRONG")
        print(f"| {name} | {statistics(looks, [look(image) for image in images])} | {signs} |", flush=True)
    for name, first, second, expected in (
        ("repeated with rounding noise", base, drawn[BF16], None),
        ("repeated with other noise", base, drawn[OTHER_NOISE], Sign.NOT_REPEATABLE),
    ):
        watch = watched(base, base, texts)
        watch.repeated(first, second)
        found = {finding.sign for finding in watch.findings()}
        right = found == ({expected} if expected else set())
        wrong += not right
        apart = np.median(integrity.distances(first, second))
        print(f"{name}: {apart:.1f} levels apart; {', '.join(found) or 'no finding'}{'' if right else ' WRONG'}")
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    typer.run(main)
