"""Uses a scheduler of another class."""

from toyfusion import ToyPipeline, ToyScheduler


class FastScheduler(ToyScheduler):
    pass


def load_pipe():
    return ToyPipeline(scheduler=FastScheduler())
