"""Draws scenes: signed-distance functions, anti-aliased, vectorised over the batch, on any device.

Distance functions after Inigo Quilez, "2D distance functions" (https://iquilezles.org/articles/distfunctions2d/).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from training.world import BACKGROUNDS, COLOURS, SHAPES, SIZES, Dice, Relation, Scenes

PICTURE_SIZE = 64
"""Width and height of a picture in pixels."""

RGB = {
    "red": (0.86, 0.12, 0.12),
    "orange": (0.96, 0.55, 0.08),
    "yellow": (0.95, 0.88, 0.15),
    "green": (0.12, 0.62, 0.20),
    "cyan": (0.15, 0.80, 0.85),
    "blue": (0.13, 0.25, 0.85),
    "purple": (0.52, 0.15, 0.68),
    "pink": (0.97, 0.50, 0.72),
    "white": (0.96, 0.96, 0.96),
    "black": (0.05, 0.05, 0.05),
    "gray": (0.50, 0.50, 0.50),
}

RADII = {"small": (7.7, 8.3), "medium": (10.4, 11.2), "large": (13.8, 14.8)}
"""Smallest and largest radius in pixels. Below 8 the VAE blurs a cross into a star."""

MARGIN = 1.5
"""Pixels between an object's radius and the picture's edge."""
LARGEST_ANGLE = 0.175
"""Objects are turned by up to this many radians either way."""
OBJECT_COLOUR_NOISE = 0.025
BACKGROUND_COLOUR_NOISE = 0.02


@dataclass(frozen=True)
class Placement:
    """Where and how the objects of N scenes stand, in pixels and radians."""

    radius: Tensor
    """(N, 2)"""
    x: Tensor
    """(N, 2) of the centre, from the left."""
    y: Tensor
    """(N, 2) of the centre, from the top."""
    angle: Tensor
    """(N, 2)"""
    colour: Tensor
    """(N, 2, 3) RGB in 0..1."""
    background: Tensor
    """(N, 3) RGB in 0..1."""


class Renderer:
    """Draws scenes as pictures."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        device = dice.device
        self._radii = torch.tensor([RADII[size] for size in SIZES], device=device)
        self._colours = torch.tensor([RGB[colour] for colour in COLOURS], device=device)
        self._backgrounds = torch.tensor([RGB[colour] for colour in BACKGROUNDS], device=device)
        centres = torch.arange(PICTURE_SIZE, device=device) + 0.5
        self._pixel_y, self._pixel_x = torch.meshgrid(centres, centres, indexing="ij")

    def render(self, scenes: Scenes) -> Tensor:
        """(N, 3, PICTURE_SIZE, PICTURE_SIZE) in 0..1, placed at random within what the scene says."""
        return self.draw(scenes, self.place(scenes))

    def place(self, scenes: Scenes) -> Placement:
        """Random radii, centres, angles and shades."""
        number = len(scenes)
        low, high = self._radii[scenes.size].unbind(-1)
        radius = self._between(low, high)
        edge = radius + MARGIN
        half = PICTURE_SIZE / 2
        inner = torch.maximum((half - 0.5 - radius).clamp(max=21.0), edge)
        along = self._between(edge, inner)  # of the first object; the second is mirrored
        along = torch.stack([along[:, 0], PICTURE_SIZE - along[:, 1]], 1)
        across = self._between(edge.clamp(min=24.0), (PICTURE_SIZE - edge).clamp(max=40.0))
        alone_x = self._between(edge, PICTURE_SIZE - edge)
        alone_y = self._between(edge, PICTURE_SIZE - edge)
        alone = (scenes.count == 1)[:, None]
        beside = (scenes.relation == Relation.LEFT_OF)[:, None]
        colour = self._colours[scenes.colour] + OBJECT_COLOUR_NOISE * self._dice.normal(number, 2, 3)
        background = self._backgrounds[scenes.background] + BACKGROUND_COLOUR_NOISE * self._dice.normal(number, 3)
        return Placement(
            radius=radius,
            x=torch.where(alone, alone_x, torch.where(beside, along, across)),
            y=torch.where(alone, alone_y, torch.where(beside, across, along)),
            angle=(2 * self._dice.uniform(number, 2) - 1) * LARGEST_ANGLE,
            colour=colour.clamp(0, 1),
            background=background.clamp(0, 1),
        )

    def draw(self, scenes: Scenes, placement: Placement) -> Tensor:
        """The picture that `placement` describes: (N, 3, PICTURE_SIZE, PICTURE_SIZE) in 0..1."""
        picture = placement.background[:, :, None, None].expand(-1, -1, PICTURE_SIZE, PICTURE_SIZE)
        for which in (0, 1):
            coverage = self.coverage(scenes, placement, which)[:, None]
            colour = placement.colour[:, which, :, None, None]
            picture = picture * (1 - coverage) + colour * coverage
        return picture

    def coverage(self, scenes: Scenes, placement: Placement, which: int) -> Tensor:
        """(N, height, width): how much of each pixel the first (0) or second (1) object covers."""
        radius, centre_x, centre_y, angle = (
            values[:, which, None, None] for values in (placement.radius, placement.x, placement.y, placement.angle)
        )
        right = (self._pixel_x - centre_x) / radius
        up = (centre_y - self._pixel_y) / radius
        x = angle.cos() * right - angle.sin() * up
        y = angle.sin() * right + angle.cos() * up
        shape = scenes.shape[:, which, None, None]
        distance = torch.zeros_like(x)
        for index, name in enumerate(SHAPES):
            distance = torch.where(shape == index, DISTANCES[name](x, y), distance)
        present = (scenes.count > which)[:, None, None]
        return (0.5 - distance * radius).clamp(0, 1) * present

    def _between(self, low: Tensor, high: Tensor) -> Tensor:
        return low + (high - low) * self._dice.uniform(*low.shape)


def _length(x: Tensor, y: Tensor) -> Tensor:
    return torch.sqrt(x * x + y * y + 1e-9)


def _circle(x: Tensor, y: Tensor) -> Tensor:
    return _length(x, y) - 0.95


def _square(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(x.abs(), y.abs()) - 0.85


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(-y, 0.8660254 * x.abs() + 0.5 * y) - 0.52


def _diamond(x: Tensor, y: Tensor) -> Tensor:
    return (x.abs() / 0.72 + y.abs() / 1.08 - 1) * 0.599


def _star(x: Tensor, y: Tensor) -> Tensor:
    """Five points: folded twice into one tenth, then the distance to one edge."""
    outer, inner = 1.1, 0.46
    fold_x, fold_y = 0.809016994375, -0.587785252292  # cosine and minus sine of 36 degrees
    x = x.abs()
    for side in (1, -1):
        beyond = 2 * (side * fold_x * x + fold_y * y).clamp(min=0)
        x, y = x - beyond * side * fold_x, y - beyond * fold_y
    x, y = x.abs(), y - outer
    edge_x, edge_y = -inner * fold_y, inner * fold_x - 1
    nearest = ((x * edge_x + y * edge_y) / (edge_x**2 + edge_y**2)).clamp(0, outer)
    outside = torch.sign(y * edge_x - x * edge_y)
    return _length(x - edge_x * nearest, y - edge_y * nearest) * outside


def _cross(x: Tensor, y: Tensor) -> Tensor:
    x, y = x.abs(), y.abs()
    upright = torch.maximum(x - 0.30, y - 1.0)
    level = torch.maximum(x - 1.0, y - 0.30)
    return torch.minimum(upright, level)


def _ring(x: Tensor, y: Tensor) -> Tensor:
    return (_length(x, y) - 0.72).abs() - 0.25


def _heart(x: Tensor, y: Tensor) -> Tensor:
    """A square on its tip and a circle on each of its upper sides."""
    x, y = x.abs(), y + 0.12
    tip = (x + y.abs() - 0.85) * 0.7071
    lobe = _length(x - 0.425, y - 0.425) - 0.601
    return torch.minimum(tip, lobe)


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "diamond": _diamond,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "heart": _heart,
}
"""Signed distance, in radii, to each shape of about radius 1 around the origin; x to the right, y up."""
