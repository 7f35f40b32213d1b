"""Whatever a pipeline returns becomes the same pixels, or an error that says what it was."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from actors.pixels import BadImages, to_pixels

RGB = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
TENSOR = torch.from_numpy(RGB).permute(0, 3, 1, 2)
PIL_IMAGES = [Image.fromarray(image) for image in RGB]


@pytest.mark.parametrize(
    "output",
    [
        RGB,
        RGB / 255.0,
        TENSOR,
        TENSOR.float() / 255,
        (TENSOR.float() / 255).requires_grad_(),
        PIL_IMAGES,
        list(RGB),
        list(TENSOR),
        SimpleNamespace(images=PIL_IMAGES),
        SimpleNamespace(images=TENSOR.double() / 255),
        (PIL_IMAGES, [False, False]),
        (TENSOR.float() / 255, None),
        tuple(PIL_IMAGES),
    ],
)
def test_every_usual_output_gives_the_same_pixels(output):
    pixels = to_pixels(output)
    assert pixels.dtype == np.uint8
    assert pixels.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(pixels, RGB)


def test_values_outside_the_range_are_cut():
    assert to_pixels(np.full((1, 2, 2, 3), 1.7)).max() == 255
    assert to_pixels(torch.full((1, 3, 2, 2), -0.3)).min() == 0


def test_half_precision_is_taken():
    assert to_pixels(torch.full((1, 3, 2, 2), 0.5, dtype=torch.float16)).tolist()[0][0][0] == [128, 128, 128]


def test_grey_pictures_are_taken_as_rgb():
    assert to_pixels([Image.new("L", (5, 4), 7)]).shape == (1, 4, 5, 3)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (None, "NoneType"),
        ("a picture", "str"),
        (b"bytes", "bytes"),
        ([], "list"),
        (np.zeros((0, 8, 8, 3), np.uint8), "shape"),
        (torch.zeros(0, 3, 8, 8), "shape"),
        ([None, None], "NoneType"),
        ([PIL_IMAGES[0], "text"], "str"),
        (SimpleNamespace(images=None), "NoneType"),
        (np.zeros((2, 4, 6), np.uint8), "shape"),
        (np.zeros((2, 4, 6, 4), np.uint8), "shape"),
        (torch.zeros(2, 4, 6, 3), "shape"),
        (torch.zeros(2, 4, 16, 16), "shape"),
        (np.zeros((1, 2, 2, 3), np.int64), "int64"),
        (np.full((1, 2, 2, 3), np.nan), "NaN"),
        (torch.full((1, 3, 2, 2), float("inf")), "NaN or infinity"),
        ([Image.new("RGB", (4, 4)), Image.new("RGB", (8, 8))], "differ in size"),
    ],
)
def test_what_is_no_picture_is_named(output, message):
    with pytest.raises(BadImages, match=message):
        to_pixels(output)
