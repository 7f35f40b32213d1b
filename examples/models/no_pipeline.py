"""A file that makes a pipeline, but where nobody finds it: it leaves neither `pipe` nor `load_pipe`."""

from diffusers import StableDiffusionPipeline


def make_pipeline():
    return StableDiffusionPipeline.from_pretrained("diffharness/tiny-shapes", safety_checker=None)
