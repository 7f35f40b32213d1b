import pytest
import torch

from training.render import BACKGROUND_COLOUR_NOISE, OBJECT_COLOUR_NOISE, PICTURE_SIZE, RGB, Renderer
from training.world import BACKGROUNDS, COLOURS, SHAPES, SIZES, Dice, Relation, Scenes, SceneSource

LIKELY = 5
"""Standard deviations within which every shade is taken to lie."""


def scenes(count: int = 400) -> Scenes:
    return SceneSource(Dice(seed=7)).held_out(count)


def mean_colour(colour: str) -> torch.Tensor:
    return torch.tensor(RGB[colour])


def test_the_colours_at_the_centres_and_in_the_corners_are_those_of_the_scene():
    all_scenes, renderer = scenes(), Renderer(Dice(seed=8))
    placement = renderer.place(all_scenes)
    pictures = renderer.draw(all_scenes, placement)
    assert pictures.shape == (len(all_scenes), 3, PICTURE_SIZE, PICTURE_SIZE)
    for row in range(len(all_scenes)):
        background = mean_colour(BACKGROUNDS[int(all_scenes.background[row])])
        corner = pictures[row, :, 0, 0]
        assert (corner - background).abs().max() < LIKELY * BACKGROUND_COLOUR_NOISE
        for which in (0, 1):
            x, y = int(placement.x[row, which]), int(placement.y[row, which])
            is_ring = SHAPES[int(all_scenes.shape[row, which])] == "ring"
            wanted = background if is_ring else mean_colour(COLOURS[int(all_scenes.colour[row, which])])
            assert (pictures[row, :, y, x] - wanted).abs().max() < LIKELY * OBJECT_COLOUR_NOISE


def test_the_first_object_stands_where_the_relation_says():
    all_scenes = scenes()
    placement = Renderer(Dice(seed=9)).place(all_scenes)
    beside = all_scenes.relation == Relation.LEFT_OF
    assert (placement.x[beside, 0] < placement.x[beside, 1]).all()
    assert (placement.y[~beside, 0] < placement.y[~beside, 1]).all()


def test_objects_are_whole_and_do_not_hide_each_other():
    all_scenes, renderer = scenes(), Renderer(Dice(seed=10))
    placement = renderer.place(all_scenes)
    coverages = [renderer.coverage(all_scenes, placement, which) for which in (0, 1)]
    for coverage in coverages:
        # The tip of a star or a cross may touch the outermost pixels.
        assert coverage[:, [0, -1], :].max() < 0.5
        assert coverage[:, :, [0, -1]].max() < 0.5
    assert torch.minimum(*coverages).sum((1, 2)).max() < 3


@pytest.mark.parametrize("shape", SHAPES)
def test_a_larger_size_covers_more_and_no_two_shapes_are_drawn_alike(shape):
    def covered(name: str) -> torch.Tensor:
        number = len(SIZES)
        alone = Scenes(
            count=torch.ones(number, dtype=torch.long),
            colour=torch.zeros(number, 2, dtype=torch.long),
            shape=torch.full((number, 2), SHAPES.index(name)),
            size=torch.arange(number)[:, None].expand(-1, 2),
            relation=torch.zeros(number, dtype=torch.long),
            background=torch.zeros(number, dtype=torch.long),
        )
        renderer = Renderer(Dice(seed=11))
        return renderer.coverage(alone, renderer.place(alone), 0)

    small, medium, large = covered(shape).sum((1, 2)).tolist()
    assert 1.3 * small < medium
    assert 1.3 * medium < large
    for other in SHAPES:
        if other != shape:
            assert (covered(other) - covered(shape)).abs().sum((1, 2)).min() > 20


def test_a_single_object_is_drawn_alone():
    training = SceneSource(Dice(seed=12)).training(200)
    single = training[training.count == 1]
    renderer = Renderer(Dice(seed=13))
    assert renderer.coverage(single, renderer.place(single), 1).max() == 0


def test_the_same_seed_draws_the_same_pictures():
    first, again, other = (Renderer(Dice(seed=seed)).render(scenes(8)) for seed in (1, 1, 2))
    assert first.equal(again)
    assert not first.equal(other)
