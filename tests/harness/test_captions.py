"""Captions from every kind of source, and prompts that are drawn the same way from the same seed."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.captions import CaptionsError, draw_prompts, read_captions

TEXTS = ["a cat, asleep", "two dogs", "ein Vögelchen"]


def parquet(path):
    pq.write_table(pa.table({"captions": [[text, " "] for text in TEXTS]}), path)


def csv(path):
    path.write_text("captions\n" + "\n".join(f'"{text}"' for text in TEXTS))


def tsv(path):
    path.write_text("captions\tx\n" + "\n".join(f"{text}\t1" for text in TEXTS))


def lines_of_json(path):
    path.write_text("\n".join(json.dumps({"captions": text}) for text in TEXTS))


def text_file(path):
    path.write_text("\n".join(TEXTS) + "\n\n")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("c.parquet", parquet),
        ("c.csv", csv),
        ("c.tsv", tsv),
        ("c.jsonl", lines_of_json),
        ("c.json", lines_of_json),
        ("c.txt", text_file),
    ],
)
def test_local_files_of_every_kind(tmp_path, name, write):
    write(tmp_path / name)
    assert read_captions(str(tmp_path / name), "captions", "validation") == [[text] for text in TEXTS]


def test_the_embedded_captions_have_their_name():
    captions = read_captions("diffharness/tiny-shapes-captions", "captions", "validation")
    assert len(captions) >= 1000
    assert all(captions)


def test_a_data_set_in_the_hubs_layout(tmp_path):
    folder = tmp_path / "my-set" / "data"
    folder.mkdir(parents=True)
    parquet(folder / "validation-00000-of-00001.parquet")
    assert read_captions(str(tmp_path / "my-set"), "captions", "validation") == [[text] for text in TEXTS]


def test_an_unknown_column_is_named_with_those_that_there_are(tmp_path):
    parquet(tmp_path / "c.parquet")
    with pytest.raises(CaptionsError, match=r"'caption'.*it has: captions"):
        read_captions(str(tmp_path / "c.parquet"), "caption", "validation")


@pytest.mark.parametrize("source", ["no/such/data-set-of-mine", "missing.parquet"])
def test_a_source_that_cannot_be_read_is_named(source, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    with pytest.raises(CaptionsError, match=source):
        read_captions(source, "captions", "validation")


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "c.parquet").write_bytes(b"not parquet")
    with pytest.raises(CaptionsError, match=r"c\.parquet"):
        read_captions(str(tmp_path / "c.parquet"), "captions", "validation")


CAPTIONS = [[f"caption {row}, way {way}" for way in range(3)] for row in range(50)]


@given(
    batches=st.integers(1, 5),
    size=st.integers(1, 5),
    warmup=st.integers(1, 3),
    repeats=st.integers(0, 2),
    seed=st.integers(0, 2**31),
)
def test_prompts_are_cut_into_batches_and_none_comes_twice(batches, size, warmup, repeats, seed):
    drawn = draw_prompts(CAPTIONS, seed, batches * size, size, warmup, repeats)
    assert (len(drawn.timed), len(drawn.warmup), len(drawn.repeats)) == (batches, warmup, repeats)
    every = [*drawn.timed, *drawn.warmup, *drawn.repeats]
    assert {len(batch.prompts) for batch in every} == {size}
    rows = [prompt.split(",")[0] for batch in every for prompt in batch.prompts]
    seeds = [seed for batch in every for seed in batch.seeds]
    assert len(set(rows)) == len(rows)
    assert len(set(seeds)) == len(seeds) == len(rows)
    assert len(drawn.other_seeds) == size
    assert not set(drawn.other_seeds) & set(seeds)


def test_the_same_seed_draws_the_same_and_another_one_does_not():
    assert draw_prompts(CAPTIONS, 1, 8, 4, 1) == draw_prompts(CAPTIONS, 1, 8, 4, 1)
    assert draw_prompts(CAPTIONS, 1, 8, 4, 1) != draw_prompts(CAPTIONS, 2, 8, 4, 1)


def test_too_few_captions_are_said_with_the_keys():
    with pytest.raises(CaptionsError, match=r"3 captions, and 12 are needed.*evaluation\.prompts"):
        draw_prompts(CAPTIONS[:3], 1, 8, 4, 1)
