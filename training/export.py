"""Writes the embedded models and captions: `python -m training.export FOLDER [--checkpoints DIR]`.

FOLDER gets `tiny-shapes/` (diffusers), `tiny-shapes-clip/` (open_clip) and `tiny-shapes-captions.parquet`.
Weights are stored as float16 safetensors.
"""

import argparse
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from training.architecture import (
    clip_config,
    make_clip,
    make_scheduler,
    make_text_encoder,
    make_unet,
    make_vae,
)
from training.captions import Captioner, to_text
from training.render import PICTURE_SIZE
from training.tokenizer import make_tokenizer, save_tokenizer, vocabulary
from training.world import Dice, Scenes, SceneSource

PIPELINE, CLIP, CAPTIONS = "tiny-shapes", "tiny-shapes-clip", "tiny-shapes-captions.parquet"

CAPTION_SEED = 2017
CAPTIONED_SCENES = 2048
CAPTIONS_PER_SCENE = 5

CAPTION_SCHEMA = pa.schema(
    [
        ("license", pa.int64()),
        ("file_name", pa.string()),
        ("coco_url", pa.string()),
        ("height", pa.int64()),
        ("width", pa.int64()),
        ("date_captured", pa.string()),
        ("flickr_url", pa.string()),
        ("image_id", pa.int64()),
        ("ids", pa.list_(pa.int64())),
        ("captions", pa.list_(pa.string())),
    ]
)
"""The schema of the data set phiyodr/coco2017; what only a photograph from the web has is null."""


def captioned_scenes() -> Scenes:
    """The held-out scenes of the caption file, in its order, no two alike."""
    drawn = SceneSource(Dice(seed=CAPTION_SEED)).held_out(2 * CAPTIONED_SCENES)
    seen: set[int] = set()
    different = []
    for row, identity in enumerate(drawn.identity().tolist()):
        if identity not in seen:
            seen.add(identity)
            different.append(row)
    return drawn[torch.tensor(different[:CAPTIONED_SCENES])]


def export_captions(path: Path) -> None:
    """Writes the captions: of each scene first the plain one, then four in other words that say as much."""
    scenes = captioned_scenes()
    captioner = Captioner(vocabulary(), Dice(seed=CAPTION_SEED))
    ways = [captioner.plain(scenes)]
    ways += [captioner.varied(scenes, leave_out=0.0) for _ in range(CAPTIONS_PER_SCENE - 1)]
    texts = [to_text(ids, vocabulary()) for ids in ways]
    rows = [
        {
            "file_name": f"{number:012d}.png",
            "height": PICTURE_SIZE,
            "width": PICTURE_SIZE,
            "image_id": number,
            "ids": [number * CAPTIONS_PER_SCENE + way for way in range(CAPTIONS_PER_SCENE)],
            "captions": list(captions),
        }
        for number, captions in enumerate(zip(*texts, strict=True))
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=CAPTION_SCHEMA), path, compression="zstd")


def export_pipeline(checkpoints: Path | None, folder: Path) -> None:
    """Writes the text-to-image pipeline in diffusers' format; with random weights where there are no checkpoints."""
    models = {"vae": make_vae(), "unet": make_unet(), "text_encoder": make_text_encoder()}
    if checkpoints is not None:
        for name, model in models.items():
            model.load_state_dict(load_file(checkpoints / f"{name}.safetensors"))
    pipeline = StableDiffusionPipeline(
        **models,
        tokenizer=make_tokenizer(),
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(folder)
    save_tokenizer(folder / "tokenizer")
    _read_as_float32(folder / "text_encoder" / "config.json")


def export_clip(checkpoints: Path | None, folder: Path) -> None:
    """Writes the CLIP in the format of open_clip's `local-dir:`; with random weights where there are no checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = load_file(checkpoints / "clip.safetensors") if checkpoints else make_clip().state_dict()
    save_file(
        {name: weight.half().contiguous() for name, weight in weights.items()},
        folder / "open_clip_model.safetensors",
    )
    (folder / "open_clip_config.json").write_text(json.dumps(clip_config(), indent=2) + "\n", encoding="utf-8")
    save_tokenizer(folder)


def _read_as_float32(config: Path) -> None:
    """Says in a transformers configuration that the model is float32, as diffusers takes its own models to be.

    transformers 5 otherwise keeps the stored float16, which does not fit the pipeline's other parts.
    """
    values = json.loads(config.read_text(encoding="utf-8"))
    values["dtype"] = values["torch_dtype"] = "float32"
    config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def export(checkpoints: Path | None, folder: Path) -> None:
    """Writes all three into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    export_pipeline(checkpoints, folder / PIPELINE)
    export_clip(checkpoints, folder / CLIP)
    export_captions(folder / CAPTIONS)
    for weights in folder.rglob("*.safetensors"):
        weights.chmod(0o644)  # safetensors writes files that only their owner can read


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--checkpoints", type=Path, help="what training.train wrote; random weights without it")
    arguments = parser.parse_args()
    export(arguments.checkpoints, arguments.folder)


if __name__ == "__main__":
    main()
