"""A file that is no Python: a bracket is never closed."""

from diffusers import StableDiffusionPipeline


def load_pipe():
    return StableDiffusionPipeline.from_pretrained("diffharness/tiny-shapes", safety_checker=None
