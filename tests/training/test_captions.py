import pytest
import torch

from training.captions import (
    CONTEXT_LENGTH,
    RELATION_WORDS,
    SIZE_WORDS,
    Captioner,
    to_text,
    words,
)
from training.tokenizer import make_tokenizer, vocabulary
from training.world import BACKGROUNDS, COLOURS, SHAPES, SIZES, Dice, Relation, Scenes, SceneSource


def scene(count: int) -> Scenes:
    return Scenes(
        count=torch.tensor([count]),
        colour=torch.tensor([[COLOURS.index("red"), COLOURS.index("orange")]]),
        shape=torch.tensor([[SHAPES.index("circle"), SHAPES.index("star")]]),
        size=torch.tensor([[SIZES.index("large"), SIZES.index("small")]]),
        relation=torch.tensor([Relation.LEFT_OF]),
        background=torch.tensor([BACKGROUNDS.index("yellow")]),
    )


def captioner(seed: int = 0) -> Captioner:
    return Captioner(vocabulary(), Dice(seed=seed))


def said_by(caption: str, count: int) -> tuple[object, ...]:
    """What a caption that leaves nothing out says, read from its words alone, the first object first."""
    size_of = {word: size for size, synonyms in SIZE_WORDS.items() for word in synonyms}
    relations = [
        (words, relation, subject)
        for relation, both in RELATION_WORDS.items()
        for subject, ways in enumerate(both)
        for words in ways
    ]
    tokens = caption.replace(",", " ,").split()
    background = tokens[tokens.index("background") - 1]
    objects = [
        (size_of[tokens[place - 2]], tokens[place - 1], token) for place, token in enumerate(tokens) if token in SHAPES
    ]
    if count == 1:
        return (*objects, background)
    relation, subject = next((r, s) for text, r, s in relations if f" {text} " in caption)
    return (*(objects if subject == 0 else objects[::-1]), relation, background)


def truth(scenes: Scenes, row: int) -> tuple[object, ...]:
    objects = [
        (
            SIZES[int(scenes.size[row, which])],
            COLOURS[int(scenes.colour[row, which])],
            SHAPES[int(scenes.shape[row, which])],
        )
        for which in range(int(scenes.count[row]))
    ]
    background = BACKGROUNDS[int(scenes.background[row])]
    relation = [Relation(int(scenes.relation[row]))] if len(objects) == 2 else []
    return (*objects, *relation, background)


@pytest.mark.parametrize(
    ("count", "caption"),
    [
        (1, "a large red circle on a yellow background"),
        (2, "a large red circle to the left of a small orange star on a yellow background"),
    ],
)
def test_the_plain_caption(count, caption):
    assert to_text(captioner().plain(scene(count)), vocabulary()) == [caption]


def test_every_full_caption_says_what_the_scene_is():
    scenes = SceneSource(Dice(seed=1)).training(2_000)
    for ids in (captioner().plain(scenes), captioner().varied(scenes, leave_out=0.0)):
        for row, caption in enumerate(to_text(ids, vocabulary())):
            assert said_by(caption, int(scenes.count[row])) == truth(scenes, row), caption


def test_what_is_left_out_is_sizes_and_the_background_and_the_article_agrees():
    captions = to_text(captioner().varied(scene(2)[torch.zeros(300, dtype=torch.long)], 1.0), vocabulary())
    assert set(captions) >= {
        "a red circle to the left of an orange star",
        "an orange star is right of a red circle",
        "a picture of an orange star to the right of a red circle",
        "red circle to the left of orange star",
    }
    said = " ".join(captions)
    assert not any(word in said.split() for word in ("large", "big", "small", "tiny", "little", "background"))


def test_captions_are_in_many_words():
    captions = to_text(captioner().varied(scene(2)[torch.zeros(500, dtype=torch.long)], 0.1), vocabulary())
    assert len(set(captions)) > 50


def test_the_same_seed_writes_the_same_captions():
    scenes = SceneSource(Dice(seed=1)).training(50)
    first, again, other = (captioner(seed).varied(scenes, 0.1) for seed in (1, 1, 2))
    assert first.equal(again)
    assert not first.equal(other)


def test_the_tokenizer_reads_captions_as_the_captioner_wrote_them():
    scenes = SceneSource(Dice(seed=2)).training(500)
    ids = captioner().varied(scenes, leave_out=0.1)
    tokenizer = make_tokenizer()
    texts = to_text(ids, vocabulary())
    read = tokenizer(texts, padding="max_length", max_length=CONTEXT_LENGTH, return_tensors="pt").input_ids
    assert read.equal(ids)
    assert tokenizer.batch_decode(ids, skip_special_tokens=True)[0].replace(" ,", ",").strip() == texts[0]


def test_every_word_of_the_world_is_one_token():
    tokenizer = make_tokenizer()
    for word in words():
        assert len(tokenizer(word).input_ids) == 3, word


def test_words_from_outside_the_world_come_back_letter_by_letter():
    tokenizer = make_tokenizer()
    ids = tokenizer("a zebra crossing, café").input_ids
    assert tokenizer.unk_token_id not in ids[1:-1]
    assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ,", ",").strip() == "a zebra crossing, café"
