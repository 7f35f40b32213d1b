"""The drawn world: what a scene is, how scenes are drawn at random, and which pairs of objects training never sees.

A scene holds one or two objects on a plain background. An object is a colour and a shape in one of three sizes; two
objects stand side by side or one above the other. No object has its background's colour, and two objects differ in
colour or shape. Everything is a tensor and nothing waits for the device, so that a whole training step, its data
included, can be captured as one CUDA graph.
"""

import random
from dataclasses import dataclass, fields
from enum import IntEnum

import torch
from torch import Tensor

SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross", "ring", "heart")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
SIZES = ("small", "medium", "large")
BACKGROUNDS = ("white", "black", "gray", "yellow", "blue", "green")

KINDS = len(COLOURS) * len(SHAPES)
"""Kinds of object: kind = colour * len(SHAPES) + shape."""

HELD_OUT_SEED = 20
HELD_OUT_SHARE = 1 / 16
ONE_OBJECT_SHARE = 0.2


class Relation(IntEnum):
    """How the first of two objects stands to the second."""

    LEFT_OF = 0
    ABOVE = 1


class Mistake(IntEnum):
    """What a caption can get wrong about a scene. The last three need two objects."""

    COLOUR = 0
    SHAPE = 1
    SIZE = 2
    BACKGROUND = 3
    PLACES_SWAPPED = 4
    COLOURS_SWAPPED = 5
    SHAPES_SWAPPED = 6


class Dice:
    """Random tensors on one device, from the global generator or from one of its own (`seed`)."""

    def __init__(self, device: str = "cpu", seed: int | None = None) -> None:
        self.device = device
        self._generator = None if seed is None else torch.Generator(device).manual_seed(seed)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform in [0, 1)."""
        return torch.rand(shape, device=self.device, generator=self._generator)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        return torch.randn(shape, device=self.device, generator=self._generator)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Whole numbers in [0, high)."""
        return torch.randint(high, shape, device=self.device, generator=self._generator)

    def below(self, counts: Tensor) -> Tensor:
        """Whole numbers in [0, counts), one for each element of `counts` (int64, positive)."""
        drawn = (self.uniform(*counts.shape) * counts).long()
        return torch.minimum(drawn, counts - 1)


@dataclass(frozen=True)
class Scenes:
    """N scenes. All tensors are int64; where `count` is 1, the second object and the relation mean nothing."""

    count: Tensor
    """(N,) 1 or 2."""
    colour: Tensor
    """(N, 2) index into COLOURS."""
    shape: Tensor
    """(N, 2) index into SHAPES."""
    size: Tensor
    """(N, 2) index into SIZES."""
    relation: Tensor
    """(N,) a Relation."""
    background: Tensor
    """(N,) index into BACKGROUNDS."""

    def __len__(self) -> int:
        return len(self.count)

    def __getitem__(self, index: Tensor | slice) -> "Scenes":
        return Scenes(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def kind(self) -> Tensor:
        """(N, 2) the kind of each object."""
        return self.colour * len(SHAPES) + self.shape

    def identity(self) -> Tensor:
        """(N,) a number that two scenes share only if every caption of one is true of the other."""
        two = self.count - 1
        first, second = (self.kind() * len(SIZES) + self.size).unbind(1)
        pair = first * (KINDS * len(SIZES) + 1) + (second + 1) * two
        return (pair * len(Relation) + self.relation * two) * len(BACKGROUNDS) + self.background


def concatenate(first: Scenes, second: Scenes) -> Scenes:
    """Both batches as one, the first in front."""
    return Scenes(**{f.name: torch.cat([getattr(first, f.name), getattr(second, f.name)]) for f in fields(Scenes)})


def choose(condition: Tensor, yes: Scenes, no: Scenes) -> Scenes:
    """Row by row the scene of `yes` where `condition` (N,) holds, else that of `no`."""

    def pick(name: str) -> Tensor:
        one, other = getattr(yes, name), getattr(no, name)
        return torch.where(condition.view(-1, *[1] * (one.ndim - 1)), one, other)

    return Scenes(**{f.name: pick(f.name) for f in fields(Scenes)})


def held_out_table() -> Tensor:
    """(KINDS, KINDS) bool, symmetric: the pairs of kinds that never stand together in a training scene.

    Python's own generator, whose `random()` is the same in every version, draws it.
    """
    draw = random.Random(HELD_OUT_SEED)
    table = torch.zeros(KINDS, KINDS, dtype=torch.bool)
    for first in range(KINDS):
        for second in range(first):
            table[first, second] = table[second, first] = draw.random() < HELD_OUT_SHARE
    return table


class SceneSource:
    """Draws scenes of the world at random."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        held_out = held_out_table()
        different = ~torch.eye(KINDS, dtype=torch.bool)
        self._held_out = held_out.to(dice.device)
        self._held_out_pairs = held_out.nonzero().to(dice.device)
        self._training_pairs = (different & ~held_out).nonzero().to(dice.device)
        self._clashes, self._backgrounds, self._background_counts = (
            table.to(dice.device) for table in _background_tables()
        )
        # CLIP learns left from right only if it often meets objects that changed places.
        mistakes = [*Mistake, *[Mistake.PLACES_SWAPPED] * 3]
        self._mistakes_of_two = torch.tensor(mistakes, device=dice.device)
        self._either = torch.arange(2, device=dice.device)

    def training(self, count: int) -> Scenes:
        """`count` scenes of one or two objects, without any held-out pair."""
        one = self._dice.uniform(count) < ONE_OBJECT_SHARE
        return self._draw(self._training_pairs, 2 - one.long())

    def held_out(self, count: int) -> Scenes:
        """`count` scenes of two objects that never stand together in training."""
        return self._draw(self._held_out_pairs, torch.full((count,), 2, device=self._dice.device))

    def is_held_out(self, scenes: Scenes) -> Tensor:
        """(N,) bool: do the two objects of each scene form a held-out pair?"""
        first, second = scenes.kind().unbind(1)
        return self._held_out[first, second] & (scenes.count == 2)

    def with_one_mistake(self, scenes: Scenes) -> Scenes:
        """Scenes with one thing changed, none of which becomes a held-out pair by it.

        Where the change drawn would leave the world (an object of its background's colour, two objects alike) or
        lead to a held-out pair, the two objects change places instead; a single object changes its shape.
        """
        mistake = torch.where(
            scenes.count == 2,
            self._mistakes_of_two[self._dice.integers(len(self._mistakes_of_two), len(scenes))],
            self._dice.integers(Mistake.BACKGROUND + 1, len(scenes)),
        )
        changed = self._change(scenes, mistake)
        unchanged = changed.identity() == scenes.identity()
        refused = unchanged | self._is_outside(changed) | self.is_held_out(changed)
        instead = torch.full_like(scenes.count, Mistake.SHAPE)
        instead = instead.masked_fill(scenes.count == 2, Mistake.PLACES_SWAPPED)
        return choose(refused, self._change(scenes, instead), changed)

    def _draw(self, pairs: Tensor, count: Tensor) -> Scenes:
        kind = pairs[self._dice.integers(len(pairs), len(count))]
        colour = kind // len(SHAPES)
        first, second = colour.unbind(1)
        choice = self._dice.below(self._background_counts[first, second])
        return Scenes(
            count=count,
            colour=colour,
            shape=kind % len(SHAPES),
            size=self._dice.integers(len(SIZES), len(count), 2),
            relation=self._dice.integers(len(Relation), len(count)),
            background=self._backgrounds[first, second, choice],
        )

    def _is_outside(self, scenes: Scenes) -> Tensor:
        clash = self._clashes[scenes.colour, scenes.background[:, None]]
        first, second = scenes.kind().unbind(1)
        two = scenes.count == 2
        return clash[:, 0] | (two & (clash[:, 1] | (first == second)))

    def _change(self, scenes: Scenes, mistake: Tensor) -> Scenes:
        chosen = self._dice.below(scenes.count)[:, None] == self._either
        shift = 1 + self._dice.integers(len(SHAPES) - 1, len(scenes))

        def changed(values: Tensor, number: int, own: Mistake, swapped: tuple[Mistake, ...]) -> Tensor:
            other = (values + 1 + (shift[:, None] % (number - 1))) % number
            values = torch.where(chosen & (mistake == own)[:, None], other, values)
            swap = torch.stack([mistake == kind for kind in swapped]).any(0)
            return torch.where(swap[:, None], values.flip(1), values)

        places = Mistake.PLACES_SWAPPED
        other_background = (scenes.background + 1 + shift % (len(BACKGROUNDS) - 1)) % len(BACKGROUNDS)
        return Scenes(
            count=scenes.count,
            colour=changed(scenes.colour, len(COLOURS), Mistake.COLOUR, (places, Mistake.COLOURS_SWAPPED)),
            shape=changed(scenes.shape, len(SHAPES), Mistake.SHAPE, (places, Mistake.SHAPES_SWAPPED)),
            size=changed(scenes.size, len(SIZES), Mistake.SIZE, (places,)),
            relation=scenes.relation,
            background=torch.where(mistake == Mistake.BACKGROUND, other_background, scenes.background),
        )


def _background_tables() -> tuple[Tensor, Tensor, Tensor]:
    """Which colour clashes with which background, and the backgrounds that suit each pair of colours.

    Returns bool (colours, backgrounds), int64 (colours, colours, backgrounds) whose first `n` entries count, and
    these `n` as int64 (colours, colours).
    """
    clashes = torch.tensor([[colour == background for background in BACKGROUNDS] for colour in COLOURS])
    suits = ~(clashes[:, None] | clashes[None])
    suitable_first = torch.argsort((~suits).int(), dim=2, stable=True)
    return clashes, suitable_first, suits.sum(2)
