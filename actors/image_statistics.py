"""What can be computed of images alone: how alike two are, and what a picture shows that no sampler would draw.

Plain functions on arrays, each bounded in time and memory for any size up to 4096 x 4096: what needs the finest detail
looks at the centre, everything else at a smaller copy. What the numbers mean for a candidate says actors/integrity.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from scipy import fft, ndimage  # type: ignore[import-untyped]

Pixels = np.ndarray[Any, np.dtype[np.uint8]]  # (count, height, width, 3), or (height, width, 3) of one image
Floats = np.ndarray[Any, np.dtype[np.float32]]
Result = TypeVar("Result")

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601

# SSIM as its authors define it (Wang et al., Image Quality Assessment, IEEE TIP 2004): of the luma, with a Gaussian
# window of 11 pixels, after averaging to about 256 pixels as their ssim.m suggests. torchmetrics 1.9 takes 2.5 s for
# four images of 512 x 512 on a CPU, and refuses images smaller than its window.
SSIM_SIDE = 256
SSIM_SIGMA, SSIM_TRUNCATE = 1.5, 3.5
SSIM_C1, SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

THUMBNAIL_SIDE = 32
SAMPLED_SIDE = 256  # of the grid of pixels that the range of tones is taken from
DETAIL_SIDE = 512  # of the centre that fine detail is looked for in
DETAIL_BAND = 0.375  # cycles a pixel and above, up to 0.5: beyond what an image stretched by two or more can hold
# What rounding the three channels to whole levels leaves in that quarter of the luma's spectrum, in levels squared.
ROUNDING = float((LUMA**2).sum()) / 12 * (0.5 - DETAIL_BAND) / 0.5
COARSE_BAND = (1 / 32, 1 / 16)  # cycles a pixel: what even an image stretched by four holds
LEAST_SIDE = 32  # of an image in which fine detail and writing can be told at all

WRITING_SIDE = 512  # larger images are looked at no larger than this: CLIP sees 224 to 384 pixels
WRITING_SCALES = (1, 2, 4)  # strokes of up to 2, 4 and 8 pixels
STROKE_CONTRAST = 48  # levels between a stroke and its ground, in one channel; less is hard to read
LINE_WINDOW = (15, 31)  # pixels: a line of print, a word wide
STROKE_SHARE = 0.12  # of the window; print of any size fills 0.15 to 0.3 of it, the tips of a star 0.05
COLOUR_BITS = 5  # colours are told apart in cells of 32 levels
# The share that one cell has of the clearest strokes: 0.27 to 1 in print, 0.2 at most in textures of 1/f noise.
ONE_COLOUR = 0.25


@dataclass(frozen=True)
class Look:
    """What is kept of an image: about 3 KB, whatever its size. Levels are 0 to 255; None: too small to tell."""

    thumbnail: Pixels  # (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)
    tones: float  # levels between the darkest and the lightest hundredth, in the channel with the widest range
    detail: tuple[float, float] | None  # down and across: energy of the finest detail, in levels squared
    coarse: float | None  # energy of what is 16 to 32 pixels large, in levels squared
    steps: tuple[float, float] | None  # down and across: how much lines differ where they differ least, to the mean
    strokes: float  # share of the picture that is as full of thin strokes as print
    writing: float  # the same of strokes that are mostly of one colour


def side_by_side(function: Callable[..., Result], *images: Iterable[Pixels]) -> list[Result]:
    """`map`, in threads: NumPy, SciPy and PIL let go of Python's lock, and a GPU's batch would wait for this."""
    with ThreadPoolExecutor() as threads:
        return list(threads.map(function, *images))


def look(image: Pixels) -> Look:
    """The statistics of one image (height, width, 3)."""
    height, width = image.shape[:2]
    top, left = max(0, height - DETAIL_SIDE) // 2, max(0, width - DETAIL_SIDE) // 2
    centre = image[top : top + DETAIL_SIDE, left : left + DETAIL_SIDE]
    large = min(height, width) >= LEAST_SIDE
    down, across, coarse = detail_energy(centre) if large else (0.0, 0.0, 0.0)
    dense = list(dense_strokes(image)) if large else []
    return Look(
        thumbnail=thumbnail(image),
        tones=range_of_tones(image),
        detail=(down, across) if large else None,
        coarse=coarse if large else None,
        steps=smallest_steps(centre) if large else None,
        strokes=max((share for share, _ in dense), default=0.0),
        writing=max((share for share, colour in dense if colour >= ONE_COLOUR), default=0.0),
    )


def similarity(baseline: Pixels, candidate: Pixels) -> tuple[list[float], list[float]]:
    """SSIM (-1 to 1) and PSNR (dB, infinite where two are equal) of each image with the one at its place.

    Both (count, height, width, 3) of one shape, with at least one pixel. Raises ValueError for two shapes.
    """
    if baseline.shape != candidate.shape:
        raise ValueError(f"images of shape {candidate.shape} beside a baseline's of shape {baseline.shape}")
    return (
        side_by_side(structural_similarity, baseline, candidate),
        side_by_side(peak_signal_to_noise, baseline, candidate),
    )


def structural_similarity(first: Pixels, second: Pixels) -> float:
    """SSIM of two images (height, width, 3) of one shape; see SSIM_SIDE."""
    factor = max(1, round(min(first.shape[:2]) / SSIM_SIDE))
    x, y = luma(shrunk(first, factor)), luma(shrunk(second, factor))

    def local(values: Floats) -> Floats:
        # Reflected at the edges, so that an image smaller than the window has a mean, too.
        blurred: Floats = ndimage.gaussian_filter(values, SSIM_SIGMA, truncate=SSIM_TRUNCATE)
        return blurred

    mean_x, mean_y = local(x), local(y)
    spread = local(x * x) - mean_x**2 + local(y * y) - mean_y**2
    together = local(x * y) - mean_x * mean_y
    alike = (2 * mean_x * mean_y + SSIM_C1) * (2 * together + SSIM_C2)
    both = (mean_x**2 + mean_y**2 + SSIM_C1) * (spread + SSIM_C2)
    return float(np.clip((alike / both).mean(dtype=np.float64), -1, 1))


def peak_signal_to_noise(first: Pixels, second: Pixels) -> float:
    """PSNR in dB of two images (height, width, 3) of one shape, over all channels; infinite where they are equal."""
    # Some rows at a time: the squares of a large image do not all lie in memory at once.
    parts = (slice(row, row + 128) for row in range(0, len(first), 128))
    squares = sum(int(np.square(np.subtract(first[rows], second[rows], dtype=np.int32)).sum()) for rows in parts)
    return 10 * float(np.log10(255**2 * first.size / squares)) if squares else float("inf")


def thumbnail(image: Pixels) -> Pixels:
    """The image as (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3), averaged: noise and JPEG leave it nearly as it was."""
    size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX, reducing_gap=2.0))


def distance(first: Pixels, second: Pixels) -> float:
    """Root mean square difference of two arrays of one shape, in levels."""
    return float(np.sqrt(np.square(np.subtract(first, second, dtype=np.float32)).mean()))


def range_of_tones(image: Pixels) -> float:
    """Levels between the 1st and the 99th percentile, in the channel where that is most."""
    rows, columns = (max(1, side // SAMPLED_SIDE) for side in image.shape[:2])
    sample = image[::rows, ::columns].reshape(-1, 3)
    low, high = np.quantile(sample, (0.01, 0.99), axis=0)
    return float((high - low).max())


def detail_energy(image: Pixels) -> tuple[float, float, float]:
    """Energy of the luma per pixel, in levels squared: of the finest detail down and across, and of COARSE_BAND.

    By the cosine transform, which takes the image as mirrored at its edges: no jump there passes for detail. What
    rounding to whole levels adds to the finest detail is subtracted.
    """
    height, width = image.shape[:2]
    energy = np.square(fft.dctn(luma(image), norm="ortho")) / (height * width)
    rows, columns = np.arange(height) / (2 * height), np.arange(width) / (2 * width)  # cycles a pixel
    down, across = energy[rows > DETAIL_BAND].sum(), energy[:, columns > DETAIL_BAND].sum()
    low, high = (energy[rows <= limit][:, columns <= limit].sum() for limit in COARSE_BAND)
    return max(0.0, float(down) - ROUNDING), max(0.0, float(across) - ROUNDING), float(high - low)


def smallest_steps(image: Pixels) -> tuple[float, float]:
    """How much the lines that differ least from their neighbours differ, to the mean: of rows, and of columns.

    Repeating pixels stretches an image to steep edges, full of the finest detail; but then half of all lines, or
    more, are their neighbours. So: the 0.45 quantile of the mean squared differences. 1 where all are equal.
    """
    found = []
    for axis in (0, 1):
        steps = np.square(np.diff(luma(image), axis=axis)).mean(1 - axis)
        mean = float(steps.mean())
        found.append(float(np.quantile(steps, 0.45)) / mean if mean else 1.0)
    return found[0], found[1]


def dense_strokes(image: Pixels) -> Iterator[tuple[float, float]]:
    """Where an image is as full of thin strokes as print, light on dark and dark on light, at each of WRITING_SCALES.

    Yields the share of the picture, and the share that one colour has of the clearest third of the strokes there:
    print is of one colour, grass, hair and noise are not. Strokes are what a 3 x 3 opening or closing takes away.
    """
    image = shrunk(image, -(-max(image.shape[:2]) // WRITING_SIDE))
    for scale in WRITING_SCALES:
        smaller = shrunk(image, scale)
        if scale > 1 and min(smaller.shape[:2]) < 48:  # shapes of 64 pixels are strokes themselves when halved
            return
        for strokes in (smaller - _largest(_smallest(smaller)), _smallest(_largest(smaller)) - smaller):
            # Twenty times as quick as `strokes.max(2)`.
            strength = np.maximum(np.maximum(strokes[..., 0], strokes[..., 1]), strokes[..., 2])
            thin = strength > STROKE_CONTRAST
            window = [min(sides) for sides in zip(LINE_WINDOW, thin.shape, strict=True)]
            if np.count_nonzero(thin) <= STROKE_SHARE * math.prod(window):  # not even all of them in one place
                yield 0.0, 0.0
                continue
            dense = ndimage.uniform_filter(thin.astype(np.float32), window, mode="constant") > STROKE_SHARE
            yield float(dense.mean()), _one_colour(smaller[thin & dense], strength[thin & dense])


def luma(image: Pixels) -> Floats:
    """The brightness (height, width) of an image (height, width, 3)."""
    bright: Floats = image.astype(np.float32) @ LUMA
    return bright


def shrunk(image: Pixels, factor: int) -> Pixels:
    """The image with `factor` times fewer pixels each way, averaged; a rest at the edges makes a pixel of its own."""
    return image if factor <= 1 else np.asarray(Image.fromarray(image).reduce(factor))


def _one_colour(colours: Pixels, strength: Pixels) -> float:
    if not strength.size:
        return 0.0
    clearest = colours[strength >= np.quantile(strength, 2 / 3)] >> COLOUR_BITS
    cells = clearest.astype(np.int32) @ np.array([64, 8, 1])
    return float(np.bincount(cells).max() / len(cells))


def _smallest(image: Pixels) -> Pixels:
    """The smallest of 3 x 3, in each channel."""
    for axis in (0, 1):
        image = _of_three(image, axis, np.minimum)
    return image


def _largest(image: Pixels) -> Pixels:
    for axis in (0, 1):
        image = _of_three(image, axis, np.maximum)
    return image


def _of_three(image: Pixels, axis: int, choose: np.ufunc) -> Pixels:
    # On whole uint8 arrays: thirty times as quick as ndimage's filters.
    lines = np.moveaxis(image, axis, 0)
    result = lines.copy(order="K")  # as it lies in memory: a transposed copy takes longer than all the rest
    choose(result[1:], lines[:-1], out=result[1:])
    choose(result[:-1], lines[1:], out=result[:-1])
    return np.moveaxis(result, 0, axis)
