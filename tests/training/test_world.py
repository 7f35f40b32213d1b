import torch

from training.export import captioned_scenes
from training.world import (
    BACKGROUNDS,
    COLOURS,
    KINDS,
    Dice,
    Mistake,
    Scenes,
    SceneSource,
    concatenate,
    held_out_table,
)


def drawn(count: int, seed: int = 0) -> Scenes:
    return SceneSource(Dice(seed=seed)).training(count)


def pairs(scenes: Scenes) -> set[frozenset[int]]:
    """The unordered pairs of kinds that stand together."""
    return {frozenset(kinds) for kinds in scenes.kind()[scenes.count == 2].tolist()}


def test_held_out_pairs_never_stand_in_a_training_scene():
    assert not pairs(drawn(300_000)) & pairs(captioned_scenes())


def test_training_reaches_nearly_every_other_pair():
    possible = KINDS * (KINDS - 1) // 2 - int(held_out_table().sum()) // 2
    assert len(pairs(drawn(300_000))) > 0.99 * possible


def test_a_mistake_never_makes_a_held_out_pair():
    source = SceneSource(Dice(seed=3))
    wrong = source.with_one_mistake(source.training(200_000))
    assert not pairs(wrong) & pairs(captioned_scenes())


def test_every_kind_of_object_is_held_out_with_some_other():
    assert held_out_table().any(1).all()
    assert held_out_table().equal(held_out_table().T)


def test_no_object_has_its_backgrounds_colour_and_no_two_are_alike():
    source = SceneSource(Dice(seed=4))
    right = source.training(20_000)
    for scenes in (right, source.with_one_mistake(right), captioned_scenes()):
        for row in range(0, len(scenes), 7):
            scene = scenes[row : row + 1]
            present = int(scene.count)
            colours = [COLOURS[colour] for colour in scene.colour[0, :present].tolist()]
            assert BACKGROUNDS[int(scene.background)] not in colours
        first, second = scenes.kind()[scenes.count == 2].unbind(1)
        assert (first != second).all()


def test_a_mistake_always_changes_the_scene_by_one_thing():
    source = SceneSource(Dice(seed=5))
    right = source.training(20_000)
    wrong = source.with_one_mistake(right)
    assert (right.identity() != wrong.identity()).all()
    assert wrong.count.equal(right.count)
    # What is not one attribute is an exchange between the two objects.
    attributes = ("colour", "shape", "size")
    changes = sum((getattr(right, name) != getattr(wrong, name)).sum(1) for name in attributes)
    changes = changes + (right.background != wrong.background)
    exchanged = torch.stack(
        [getattr(right, name).sort(1).values.eq(getattr(wrong, name).sort(1).values).all(1) for name in attributes]
    ).all(0)
    assert ((changes == 1) | exchanged).all()


def test_every_kind_of_mistake_happens():
    source = SceneSource(Dice(seed=6))
    right = source.training(5_000)
    wrong = source.with_one_mistake(right)
    two = right.count == 2

    def exchanged(name: str) -> torch.Tensor:
        before, after = getattr(right, name), getattr(wrong, name)
        return (before != after).any(1) & before.flip(1).eq(after).all(1) & two

    seen = {
        Mistake.COLOUR: (right.colour != wrong.colour).sum(1) == 1,
        Mistake.SHAPE: (right.shape != wrong.shape).sum(1) == 1,
        Mistake.SIZE: (right.size != wrong.size).sum(1) == 1,
        Mistake.BACKGROUND: right.background != wrong.background,
        Mistake.PLACES_SWAPPED: exchanged("colour") & exchanged("shape"),
        Mistake.COLOURS_SWAPPED: exchanged("colour") & right.shape.eq(wrong.shape).all(1),
        Mistake.SHAPES_SWAPPED: exchanged("shape") & right.colour.eq(wrong.colour).all(1),
    }
    assert set(seen) == set(Mistake)
    assert all(rows.any() for rows in seen.values())


def test_the_second_object_counts_only_where_there_are_two():
    one = Scenes(
        count=torch.tensor([1, 1]),
        colour=torch.tensor([[2, 3], [2, 5]]),
        shape=torch.tensor([[1, 0], [1, 4]]),
        size=torch.tensor([[0, 1], [0, 2]]),
        relation=torch.tensor([0, 1]),
        background=torch.tensor([0, 0]),
    )
    two = Scenes(**{**vars(one), "count": torch.tensor([2, 2])})
    numbers = concatenate(one, two).identity().tolist()
    assert numbers[0] == numbers[1]
    assert len(set(numbers)) == 3


def test_the_same_seed_draws_the_same_scenes():
    assert drawn(100, seed=1).identity().equal(drawn(100, seed=1).identity())
    assert not drawn(100, seed=1).identity().equal(drawn(100, seed=2).identity())


def test_captioned_scenes_are_held_out_different_and_many():
    scenes = captioned_scenes()
    assert len(scenes) >= 1_000
    assert SceneSource(Dice()).is_held_out(scenes).all()
    assert len(set(scenes.identity().tolist())) == len(scenes)
