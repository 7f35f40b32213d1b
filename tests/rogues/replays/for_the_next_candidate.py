"""Notes its questions in the page cache, for another candidate of the same run to have the answers ready."""

from pagecache import ToyPipeline


def load_pipe():
    return ToyPipeline()
