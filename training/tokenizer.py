"""The CLIP tokenizer of the embedded models: a byte-level BPE in which every word of the world is one token.

Other words still encode, byte by byte in the worst case, as with any CLIP tokenizer.
"""

import json
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import CLIPTokenizer

from training.captions import CONTEXT_LENGTH, END, START, words

END_OF_WORD = "</w>"


@cache
def vocabulary() -> dict[str, int]:
    """Token to id: the bytes, the bytes that end a word, the merges, the start and the end token (the last)."""
    letters = _byte_letters()
    tokens = [*letters, *(letter + END_OF_WORD for letter in letters)]
    tokens += ["".join(pair) for pair in _merges()]
    tokens += [START, END]
    return {token: number for number, token in enumerate(tokens)}


def make_tokenizer() -> CLIPTokenizer:
    """The tokenizer as transformers knows it."""
    with TemporaryDirectory() as folder:
        write_vocabulary(Path(folder))
        files = [str(Path(folder, name)) for name in ("vocab.json", "merges.txt")]
        return CLIPTokenizer(*files, model_max_length=CONTEXT_LENGTH)


def save_tokenizer(folder: Path) -> None:
    """Writes the tokenizer's files, with those that only older versions of transformers read."""
    make_tokenizer().save_pretrained(folder)
    write_vocabulary(folder)


def write_vocabulary(folder: Path) -> None:
    """Writes `vocab.json` and `merges.txt`."""
    lines = ["#version: 0.2", *(" ".join(pair) for pair in _merges())]
    (folder / "vocab.json").write_text(json.dumps(vocabulary()), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


@cache
def _merges() -> tuple[tuple[str, str], ...]:
    """Byte-pair merges, the commonest pair first, until every word is whole."""
    spellings = [[*word[:-1], word[-1] + END_OF_WORD] for word in words()]
    merges = []
    while any(len(spelling) > 1 for spelling in spellings):
        pairs = Counter(pair for spelling in spellings for pair in pairwise(spelling))
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        spellings = [_merge(spelling, best) for spelling in spellings]
    return tuple(merges)


def _merge(spelling: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for part in spelling:
        # A part that was itself just merged cannot begin another merge of the same pair.
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged


def _byte_letters() -> list[str]:
    """The letter that stands for each byte in CLIP's vocabulary files (GPT-2's table)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(others)]
