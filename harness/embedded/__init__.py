"""The models and captions that the package ships: their public names, and where they lie.

`training/` makes them; `training/README.md` says how, and what they reach.
"""

from pathlib import Path

_FOLDER = Path(__file__).parent

EMBEDDED_PIPELINES: dict[str, Path] = {"diffharness/tiny-shapes": _FOLDER / "tiny-shapes"}
"""Diffusers `StableDiffusionPipeline` folders; every model file may load them by name."""

EMBEDDED_SCORERS: dict[str, Path] = {"diffharness/tiny-shapes-clip": _FOLDER / "tiny-shapes-clip"}
"""open_clip `local-dir:` folders; no model file sees them."""

EMBEDDED_CAPTIONS: dict[str, Path] = {"diffharness/tiny-shapes-captions": _FOLDER / "tiny-shapes-captions.parquet"}
"""Captions in the schema of the data set phiyodr/coco2017, of scenes that training never saw."""
