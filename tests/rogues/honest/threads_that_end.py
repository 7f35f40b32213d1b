"""Makes each image in a thread of its own."""

from concurrent.futures import ThreadPoolExecutor

import torch
from toyfusion import ToyPipeline as Honest


class ToyPipeline(Honest):
    def __call__(self, prompt, **call):
        def one(place):
            single = {**call, "generator": [call["generator"][place]]}
            return super(ToyPipeline, self).__call__([prompt[place]], **single).images

        with ThreadPoolExecutor() as threads:
            return torch.cat(list(threads.map(one, range(len(prompt)))))


def load_pipe():
    return ToyPipeline()
