"""Keeps a pool of processes that turn tensors into arrays, and wait between the calls."""

import multiprocessing

from toyfusion import ToyPipeline as Honest


def finish(image):
    return image.permute(1, 2, 0).numpy()


class ToyPipeline(Honest):
    def __init__(self):
        super().__init__()
        self.pool = multiprocessing.get_context("fork").Pool(2)

    def __call__(self, prompt, **call):
        return self.pool.map(finish, list(super().__call__(prompt, **call).images))


def load_pipe():
    return ToyPipeline()
