"""The shipped models and captions are what the package says they are, and load with the ordinary libraries."""

import pyarrow.parquet as pq
import pytest
import torch

from harness.embedded import EMBEDDED_CAPTIONS, EMBEDDED_PIPELINES, EMBEDDED_SCORERS

LARGEST_TOTAL = 16_000_000
PIPELINE = EMBEDDED_PIPELINES["diffharness/tiny-shapes"]
CLIP = EMBEDDED_SCORERS["diffharness/tiny-shapes-clip"]
CAPTIONS = EMBEDDED_CAPTIONS["diffharness/tiny-shapes-captions"]


@pytest.fixture(scope="module")
def captions() -> list[str]:
    return [row[0] for row in pq.read_table(CAPTIONS)["captions"].to_pylist()]


@pytest.fixture(scope="module")
def scorer():
    from training.evaluate import Scorer

    return Scorer(CLIP, "cpu")


def load_pipeline():
    from training.evaluate import load_pipeline

    return load_pipeline(PIPELINE, "cpu")


def test_everything_together_takes_at_most_16_megabytes():
    files = [file for root in (PIPELINE, CLIP) for file in root.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in [*files, CAPTIONS]) <= LARGEST_TOTAL


def test_captions_have_the_columns_of_coco_and_are_many():
    table = pq.read_table(CAPTIONS)
    assert table.column_names == [
        "license",
        "file_name",
        "coco_url",
        "height",
        "width",
        "date_captured",
        "flickr_url",
        "image_id",
        "ids",
        "captions",
    ]
    assert table.num_rows >= 1_000
    rows = table.to_pylist()
    assert all(len(row["captions"]) == len(row["ids"]) == 5 for row in rows)
    assert len({number for row in rows for number in row["ids"]}) == 5 * len(rows)
    assert len({row["captions"][0] for row in rows}) == len(rows)


def test_captions_are_those_of_the_held_out_scenes(tmp_path):
    from training.export import export_captions

    export_captions(tmp_path / "captions.parquet")
    assert pq.read_table(tmp_path / "captions.parquet").equals(pq.read_table(CAPTIONS))


def test_captions_load_as_a_data_set():
    from datasets import load_dataset

    rows = load_dataset("parquet", data_files=str(CAPTIONS), split="train")
    assert rows[0]["captions"][0].startswith("a ")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_whole_pipeline_loads_in_one_type(dtype):
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(PIPELINE, torch_dtype=dtype)
    assert {part.dtype for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder)} == {dtype}


def test_the_pipeline_loads_in_float32_when_nothing_is_said():
    pipeline = load_pipeline()
    assert {part.dtype for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder)} == {torch.float32}


def test_clip_finds_the_caption_of_a_drawn_picture(scorer, captions):
    from training.evaluate import to_images
    from training.export import captioned_scenes
    from training.render import Renderer
    from training.world import Dice

    pictures = to_images(Renderer(Dice(seed=31)).render(captioned_scenes()[:64]))
    table = scorer.similarity(pictures, captions[:64])
    found = (table.argmax(1) == torch.arange(64)).float().mean()
    assert found >= 0.98


def test_the_pipeline_draws_what_the_caption_says_and_two_steps_do_not(scorer, captions):
    pipeline = load_pipeline()
    wanted = captions[:16]

    def mean_score(steps: int) -> float:
        generator = torch.Generator().manual_seed(5)
        pictures = pipeline(wanted, num_inference_steps=steps, guidance_scale=5.0, generator=generator).images
        return float(scorer.score(pictures, wanted).mean())

    enough = mean_score(10)
    assert enough > 75
    assert mean_score(2) < 0.7 * enough
