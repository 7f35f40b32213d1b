"""Puts scenes into words, as token ids, vectorised over the batch.

Every word of the world is one token. A caption is a row of a table of phrasings whose placeholders are filled in from
the scene. In the table a placeholder is a number from the vocabulary's size upward; a word left out is a hole, and
holes are closed at the end.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from training.world import BACKGROUNDS, COLOURS, SHAPES, SIZES, Dice, Relation, Scenes

CONTEXT_LENGTH = 32
"""Tokens of a caption, start, end and padding included."""
START, END = "<|startoftext|>", "<|endoftext|>"

# In all these lists an entry that stands more often is drawn more often, and the first is the plain way to say it.
SIZE_WORDS = {
    "small": ("small", "small", "tiny", "little"),
    "medium": ("medium", "medium", "medium", "medium"),
    "large": ("large", "large", "big", "large"),
}
RELATION_WORDS = {
    Relation.LEFT_OF: (
        ("to the left of",) * 4 + ("left of",),
        ("to the right of",) * 4 + ("right of",),
    ),
    Relation.ABOVE: (("above",) * 4 + ("over",), ("below",) * 4 + ("under",)),
}
"""Said of the first object, and said of the second."""

PLACEHOLDERS = ("ARTICLE1", "SIZE1", "COLOUR1", "SHAPE1", "ARTICLE2", "SIZE2", "COLOUR2", "SHAPE2", "BACKGROUND")
OBJECTS = ("ARTICLE1 SIZE1 COLOUR1 SHAPE1", "ARTICLE2 SIZE2 COLOUR2 SHAPE2")
BARE_OBJECTS = ("SIZE1 COLOUR1 SHAPE1", "SIZE2 COLOUR2 SHAPE2")

ONE_OBJECT = (
    *("{a} on a BACKGROUND background",) * 5,
    "a picture of {a} on a BACKGROUND background",
    "a BACKGROUND background with {a}",
    "{bare_a} , BACKGROUND background",
)
ONE_OBJECT_ALONE = (*("{a}",) * 6, "a picture of {a}", "{bare_a}")
TWO_OBJECTS = (
    *("{a} {relation} {b} on a BACKGROUND background",) * 5,
    "a picture of {a} {relation} {b} on a BACKGROUND background",
    "a BACKGROUND background with {a} {relation} {b}",
    "{bare_a} {relation} {bare_b} , BACKGROUND background",
    "on a BACKGROUND background , {a} is {relation} {b}",
)
TWO_OBJECTS_ALONE = (
    *("{a} {relation} {b}",) * 6,
    "a picture of {a} {relation} {b}",
    "{bare_a} {relation} {bare_b}",
    "{a} is {relation} {b}",
)

HOLE = -1


def phrasings() -> list[list[str]]:
    """All phrasings with their placeholders, in six groups.

    One object, two side by side, two one above the other; each first with the background named, then without.
    """
    groups = [[_fill(frame, 0, "") for frame in frames] for frames in (ONE_OBJECT, ONE_OBJECT_ALONE)]
    for relation in Relation:
        for frames in (TWO_OBJECTS, TWO_OBJECTS_ALONE):
            groups.append(
                [
                    _fill(frame, subject, words)
                    for subject, ways in enumerate(RELATION_WORDS[relation])
                    for frame in frames
                    for words in ways
                ]
            )
    return groups


def words() -> list[str]:
    """Every word that a caption can hold, in alphabetical order."""
    found = {"a", "an", *SHAPES, *COLOURS, *BACKGROUNDS}
    for synonyms in SIZE_WORDS.values():
        found.update(synonyms)
    for group in phrasings():
        for phrasing in group:
            found.update(phrasing.split())
    return sorted(found.difference(PLACEHOLDERS))


def to_text(ids: Tensor, vocabulary: Mapping[str, int]) -> list[str]:
    """The captions that `ids` (N, CONTEXT_LENGTH) stand for, start, end and padding left out."""
    word_of = {number: entry.removesuffix("</w>") for entry, number in vocabulary.items()}
    left_out = {vocabulary[START], vocabulary[END]}
    rows = ([word_of[token] for token in row if token not in left_out] for row in ids.tolist())
    return [" ".join(row).replace(" ,", ",") for row in rows]


class Captioner:
    """Writes captions of scenes. `vocabulary` maps a token, such as `red</w>`, to its id."""

    def __init__(self, vocabulary: Mapping[str, int], dice: Dice) -> None:
        self._dice = dice
        self._vocabulary = vocabulary
        self._first_placeholder = len(vocabulary)
        self._start, self._end = vocabulary[START], vocabulary[END]
        groups = phrasings()
        longest = max(len(phrasing.split()) for group in groups for phrasing in group)
        counts = torch.tensor([len(group) for group in groups])
        self._table = self._tensor([self._row(phrasing, longest) for group in groups for phrasing in group])
        self._group_size = counts.to(dice.device)
        self._group_start = (counts.cumsum(0) - counts).to(dice.device)
        self._articles = self._ids(["a", "an"])
        self._needs_an = self._tensor([int(colour[0] in "aeiou") for colour in COLOURS])
        self._sizes = torch.stack([self._ids(SIZE_WORDS[size]) for size in SIZES])
        self._colours, self._shapes = self._ids(COLOURS), self._ids(SHAPES)
        self._backgrounds = self._ids(BACKGROUNDS)

    def plain(self, scenes: Scenes) -> Tensor:
        """The fullest caption in the commonest words, always the same for a scene: (N, CONTEXT_LENGTH) int64."""
        nothing = torch.zeros(len(scenes), dtype=torch.long, device=self._dice.device)
        objects = torch.stack([nothing, nothing], 1)
        return self._write(scenes, self._group_start[self._group(scenes, nothing)], objects, objects.bool())

    def varied(self, scenes: Scenes, leave_out: float) -> Tensor:
        """A caption drawn at random: (N, CONTEXT_LENGTH) int64.

        Each size, and the background, is left unsaid with probability `leave_out`.
        """
        number = len(scenes)
        group = self._group(scenes, (self._dice.uniform(number) < leave_out).long())
        row = self._group_start[group] + self._dice.below(self._group_size[group])
        synonym = self._dice.integers(self._sizes.shape[1], number, 2)
        return self._write(scenes, row, synonym, self._dice.uniform(number, 2) < leave_out)

    def _group(self, scenes: Scenes, without_background: Tensor) -> Tensor:
        objects = (1 + scenes.relation).masked_fill(scenes.count == 1, 0)
        return 2 * objects + without_background

    def _write(self, scenes: Scenes, row: Tensor, synonym: Tensor, without_size: Tensor) -> Tensor:
        size = self._sizes[scenes.size, synonym].masked_fill(without_size, HOLE)
        article = self._articles[self._needs_an[scenes.colour] * without_size]
        objects = [article, size, self._colours[scenes.colour], self._shapes[scenes.shape]]
        values = torch.cat(
            [
                torch.stack(objects, 2).flatten(1),  # in the order of PLACEHOLDERS
                self._backgrounds[scenes.background][:, None],
            ],
            1,
        )
        phrasing = self._table[row]
        placeholder = phrasing - self._first_placeholder
        filled = values.gather(1, placeholder.clamp(min=0))
        return self._close(torch.where(placeholder >= 0, filled, phrasing))

    def _close(self, tokens: Tensor) -> Tensor:
        """Moves holes to the end, adds the start token and pads with the end token."""
        order = torch.argsort((tokens == HOLE).int(), dim=1, stable=True)
        tokens = tokens.gather(1, order)
        ids = torch.full((len(tokens), CONTEXT_LENGTH), self._end, device=tokens.device)
        ids[:, 0].fill_(self._start)
        ids[:, 1 : 1 + tokens.shape[1]] = tokens.masked_fill(tokens == HOLE, self._end)
        return ids

    def _row(self, phrasing: str, length: int) -> list[int]:
        row = [
            self._first_placeholder + PLACEHOLDERS.index(word)
            if word in PLACEHOLDERS
            else self._vocabulary[word + "</w>"]
            for word in phrasing.split()
        ]
        return row + [HOLE] * (length - len(row))

    def _ids(self, entries: Sequence[str]) -> Tensor:
        return self._tensor([self._vocabulary[entry + "</w>"] for entry in entries])

    def _tensor(self, values: Sequence[int] | Sequence[list[int]]) -> Tensor:
        return torch.tensor(values, device=self._dice.device)


def _fill(frame: str, subject: int, relation: str) -> str:
    """Puts the objects into a frame; `subject` is the object (0 or 1) that the sentence begins with."""
    other = 1 - subject
    return frame.format(
        a=OBJECTS[subject],
        b=OBJECTS[other],
        bare_a=BARE_OBJECTS[subject],
        bare_b=BARE_OBJECTS[other],
        relation=relation,
    )
