"""Whatever a pipeline returns, as raw pixels: uint8, count x height x width x 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image


class BadImages(ValueError):
    """What came back is not the images that were asked for."""


def to_pixels(output: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The images of a call, as a contiguous uint8 array of shape (count, height, width, 3).

    Takes a diffusers pipeline output (its `.images`) or its tuple, a tensor (count, 3, height, width) or an array
    (count, height, width, 3) in 0..1 or as uint8, or a list of any of these for one image each or of PIL images.
    Rounding is that of diffusers' `VaeImageProcessor.numpy_to_pil`. Raises BadImages.
    """
    pixels = _pixels(getattr(output, "images", output))
    if pixels.size == 0:
        raise BadImages(f"the call returned images of shape {pixels.shape}")
    return pixels


def _pixels(images: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    if isinstance(images, tuple) and images and not _is_image(images[0]):
        images = images[0]  # `return_dict=False` gives (images, flags)
    if isinstance(images, torch.Tensor):
        return _from_tensor(images)
    if isinstance(images, np.ndarray):
        return _from_array(images)
    if isinstance(images, Sequence) and not isinstance(images, (str, bytes)) and len(images) > 0:
        return _from_list(list(images))
    raise BadImages(f"the call returned {type(images).__name__}, not images")


def _is_image(value: Any) -> bool:
    return isinstance(value, Image.Image) or (isinstance(value, (torch.Tensor, np.ndarray)) and value.ndim == 3)


def _from_list(images: list[Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    if not all(_is_image(image) for image in images):
        kinds = sorted({type(image).__name__ for image in images})
        raise BadImages(f"the call returned a list of {', '.join(kinds)}, not of images")
    rows = [
        np.asarray(image.convert("RGB"))[None] if isinstance(image, Image.Image) else _pixels(image[None])
        for image in images
    ]
    sizes = sorted({row.shape[1:3] for row in rows})
    if len(sizes) > 1:
        raise BadImages(f"the images of one call differ in size: {sizes}")
    return np.ascontiguousarray(np.concatenate(rows))


def _from_tensor(images: torch.Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    if images.ndim != 4 or images.shape[1] != 3:
        raise BadImages(f"a tensor of shape {tuple(images.shape)}; (count, 3, height, width) was expected")
    images = images.detach()
    if images.dtype != torch.uint8:
        # Rounded and turned where they lie: a quarter of the bytes then cross to the host, which turns them slowly.
        images = images.float()
        if not bool(torch.isfinite(images).all()):
            raise BadImages("the images hold NaN or infinity")
        images = (images.clamp(0, 1) * 255).round().to(torch.uint8)
    return images.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _from_array(images: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    if images.ndim != 4 or images.shape[3] != 3:
        raise BadImages(f"an array of shape {images.shape}; (count, height, width, 3) was expected")
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    if not np.issubdtype(images.dtype, np.floating):
        raise BadImages(f"an array of {images.dtype}; uint8 or floats in 0..1 were expected")
    if not np.isfinite(images).all():
        raise BadImages("the images hold NaN or infinity")
    return np.ascontiguousarray((images.clip(0, 1) * 255).round().astype(np.uint8))
