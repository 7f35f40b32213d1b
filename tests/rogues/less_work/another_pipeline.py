"""Is a pipeline of another class."""

from toyfusion import ToyPipeline


class TurboPipeline(ToyPipeline):
    pass


def load_pipe():
    return TurboPipeline()
