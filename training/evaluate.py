"""Says how good the embedded models are: `python -m training.evaluate [--captions 64] [--grid FILE]`.

Prints CLIP retrieval among held-out captions, the CLIP score (100 x cosine) of pictures that are right, wrong or no
pictures at all, and the mean CLIP score and the time of the pipeline at several steps and with acceleration methods.
Each setting draws the same captions with the same seeds; the relative loss is against 50 plain steps.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import pyarrow.parquet as pq
import torch
import transformers
from diffusers import StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from torch import Tensor

from training.captions import Captioner, to_text
from training.export import CAPTIONS, CLIP, PIPELINE, captioned_scenes
from training.render import PICTURE_SIZE, Renderer
from training.tokenizer import vocabulary
from training.world import Dice, SceneSource

EMBEDDED = Path(__file__).parent.parent / "harness" / "embedded"
GUIDANCE = 5.0
BATCH = 4
SEED = 1000
RENDER_SEED = 123
GRID_COLUMNS = 8


@dataclass(frozen=True)
class Setting:
    """One way to run the pipeline."""

    name: str
    steps: int = 50
    accelerate: Callable[[StableDiffusionPipeline], Any] | None = None
    """Changes the pipeline and returns what is to be called in its place."""


def deepcache(pipeline: StableDiffusionPipeline) -> Any:
    """DeepCache (Ma et al., CVPR 2024): deep features computed anew at every third step."""
    from DeepCache import DeepCacheSDHelper

    helper = DeepCacheSDHelper(pipe=pipeline)
    helper.set_params(cache_interval=3, cache_branch_id=0)
    helper.enable()
    return pipeline


def tome(pipeline: StableDiffusionPipeline) -> Any:
    """Token merging (Bolya and Hoffman 2023): half of the tokens merged."""
    import tomesd

    tomesd.apply_patch(pipeline, ratio=0.5)
    return pipeline


def tgate(pipeline: StableDiffusionPipeline) -> Any:
    """T-GATE (Zhang et al. 2024): cross-attention cached after step 20."""
    from tgate import TgateSDLoader

    gated = TgateSDLoader(pipeline)

    def draw(prompts: Sequence[str], **call: Any) -> Any:
        return gated.tgate(prompts, gate_step=20, sp_interval=5, fi_interval=1, warm_up=2, **call)

    return draw


SETTINGS = (
    Setting("50 steps"),
    Setting("25 steps", steps=25),
    Setting("10 steps", steps=10),
    Setting("5 steps", steps=5),
    Setting("2 steps", steps=2),
    Setting("DeepCache, interval 3", accelerate=deepcache),
    Setting("ToMe, ratio 0.5", accelerate=tome),
    Setting("T-GATE, gate step 20", accelerate=tgate),
)


class Scorer:
    """CLIP scores by the embedded CLIP."""

    def __init__(self, folder: Path, device: str) -> None:
        name = f"local-dir:{folder.resolve()}"
        self._model, _, self._prepare = open_clip.create_model_and_transforms(name, device=device)
        self._model.eval()
        self._tokenize = open_clip.get_tokenizer(name)
        self._device = device

    @torch.no_grad()
    def similarity(self, pictures: Sequence[Image.Image], captions: Sequence[str]) -> Tensor:
        """100 x cosine of every picture with every caption: (pictures, captions)."""
        prepared = torch.stack([self._prepare(picture) for picture in pictures]).to(self._device)
        seen = self._model.encode_image(prepared, normalize=True)
        said = self._model.encode_text(self._tokenize(list(captions)).to(self._device), normalize=True)
        table: Tensor = 100 * seen @ said.T
        return table.cpu()

    def score(self, pictures: Sequence[Image.Image], captions: Sequence[str]) -> Tensor:
        """The CLIP score of each picture against its own caption: (pictures,)."""
        return self.similarity(pictures, captions).diag()


def to_images(pictures: Tensor) -> list[Image.Image]:
    """PIL images of pictures in 0..1: (N, 3, height, width)."""
    pixels = (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(picture) for picture in pixels]


def load_pipeline(folder: Path, device: str) -> StableDiffusionPipeline:
    """The pipeline in float32, without progress bars."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder).to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run(setting: Setting, folder: Path, captions: Sequence[str], device: str) -> tuple[list[Image.Image], list[float]]:
    """The pictures of all captions, and the seconds that each batch took."""
    pipeline = load_pipeline(folder, device)
    draw = setting.accelerate(pipeline) if setting.accelerate else pipeline
    pictures: list[Image.Image] = []
    seconds = []
    for start in range(0, len(captions), BATCH):
        generator = torch.Generator().manual_seed(SEED + start)
        call = {"num_inference_steps": setting.steps, "guidance_scale": GUIDANCE, "generator": generator}
        before = time.perf_counter()
        # The pictures come back in the CPU's memory, so the clock stops after the last of them.
        pictures += draw(list(captions[start : start + BATCH]), **call).images
        seconds.append(time.perf_counter() - before)
    return pictures, seconds


def report_clip(scorer: Scorer, captions: Sequence[str]) -> None:
    """Prints what CLIP makes of right and of wrong pictures."""
    number = len(captions)
    dice = Dice(seed=RENDER_SEED)
    scenes = captioned_scenes()[:number]
    real = to_images(Renderer(dice).render(scenes))
    mistaken = SceneSource(dice).with_one_mistake(scenes)
    wrong = to_text(Captioner(vocabulary(), dice).plain(mistaken), vocabulary())
    noise = to_images(dice.uniform(number, 3, PICTURE_SIZE, PICTURE_SIZE))
    table = scorer.similarity(real, captions)
    own = torch.arange(number)
    others = table[~torch.eye(number, dtype=torch.bool)]
    print(f"CLIP retrieval among {number} held-out captions:")
    print(f"  caption of a picture   {100 * float((table.argmax(1) == own).float().mean()):6.2f} %")
    print(f"  picture of a caption   {100 * float((table.argmax(0) == own).float().mean()):6.2f} %")
    print("Mean CLIP score:")
    print(f"  real renders           {float(table.diag().mean()):6.2f}")
    print(f"  one attribute wrong    {float(scorer.score(real, wrong).mean()):6.2f}")
    print(f"  mismatched             {float(others.mean()):6.2f}")
    print(f"  noise                  {float(scorer.score(noise, captions).mean()):6.2f}")


def report_pipeline(scorer: Scorer, folder: Path, captions: Sequence[str], device: str) -> list[Image.Image]:
    """Prints a row for each setting; returns the pictures of the first."""
    print(f"{'setting':24}{'CLIP score':>11}{'loss %':>9}{'+-':>6}{f'batch of {BATCH}, s':>15}")
    plain, plain_pictures = None, None
    for setting in SETTINGS:
        pictures, seconds = run(setting, folder, captions, device)
        scores = scorer.score(pictures, captions)
        if plain is None:
            plain, plain_pictures = scores, pictures
        loss = 100 * (1 - scores.mean() / plain.mean())
        error = 100 * (scores - plain).std() / len(scores) ** 0.5 / plain.mean()
        median = statistics.median(seconds)
        print(
            f"{setting.name:24}{float(scores.mean()):11.2f}{float(loss):9.2f}{float(error):6.2f}{median:15.2f}",
            flush=True,
        )
    assert plain_pictures is not None
    return plain_pictures


def save_grid(pictures: Sequence[Image.Image], path: Path) -> None:
    """Writes the pictures as one, twice as large, a white line between them."""
    step = PICTURE_SIZE + 2
    rows = -(-len(pictures) // GRID_COLUMNS)
    grid = Image.new("RGB", (GRID_COLUMNS * step, rows * step), "white")
    for number, picture in enumerate(pictures):
        row, column = divmod(number, GRID_COLUMNS)
        grid.paste(picture, (column * step + 1, row * step + 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    grid.resize((2 * grid.width, 2 * grid.height), Image.Resampling.NEAREST).save(path)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=EMBEDDED, help="where the embedded models lie")
    parser.add_argument("--captions", type=int, default=64, help="how many held-out captions")
    parser.add_argument("--grid", type=Path, help="where to write the pictures of 50 steps")
    arguments = parser.parse_args()
    diffusers_logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    captions = [row[0] for row in pq.read_table(arguments.folder / CAPTIONS)["captions"].to_pylist()]
    captions = captions[: arguments.captions]
    scorer = Scorer(arguments.folder / CLIP, device)
    report_clip(scorer, captions)
    pictures = report_pipeline(scorer, arguments.folder / PIPELINE, captions, device)
    if arguments.grid:
        save_grid(pictures, arguments.grid)


if __name__ == "__main__":
    main()
