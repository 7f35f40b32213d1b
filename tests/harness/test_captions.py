"""Captions from every kind of source."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.captions import CaptionsError, read_captions, require_enough
from harness.config import Evaluation

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
    assert read_captions(str(tmp_path / name), "captions", "validation") == tuple((text,) for text in TEXTS)


def test_the_embedded_captions_have_their_name():
    captions = read_captions("diffharness/tiny-shapes-captions", "captions", "validation")
    assert len(captions) >= 1000
    assert all(captions)


def test_a_data_set_in_the_hubs_layout(tmp_path):
    folder = tmp_path / "my-set" / "data"
    folder.mkdir(parents=True)
    parquet(folder / "validation-00000-of-00001.parquet")
    assert read_captions(str(tmp_path / "my-set"), "captions", "validation") == tuple((text,) for text in TEXTS)


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


def test_too_few_captions_are_named_with_the_keys():
    settings = Evaluation(prompts=8, batch_size=4, warmup_batches=1, max_warmup_batches=1, burn_in=2, max_repeats=1)
    require_enough(24, settings)
    with pytest.raises(CaptionsError, match=r"23 captions, and 24 are needed.*evaluation\.prompts.*burn_in"):
        require_enough(23, settings)


def test_every_start_of_both_processes_takes_captions_of_its_own():
    settings = Evaluation(prompts=8, batch_size=4, max_warmup_batches=2, burn_in=1, max_repeats=0, restarts=2)
    require_enough(32, settings)
    with pytest.raises(CaptionsError, match=r"2 starts \(evaluation\.restarts\)"):
        require_enough(31, settings)
