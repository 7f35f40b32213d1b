"""A partial object as the pipeline, and a `pipe_forward` that passes everything on."""

from functools import partial

from toyfusion import ToyPipeline

pipe = partial(ToyPipeline(), num_inference_steps=20)


def pipe_forward(pipe, prompts, **call):
    return pipe(prompts, **call)
