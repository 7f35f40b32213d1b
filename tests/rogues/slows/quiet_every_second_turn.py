"""Spins in every second turn of the baseline, and leaves the others alone."""

from turns import ToyPipeline, go_on_by_timer, spin, start_helpers


def work():
    go_on_by_timer()
    spin(lambda calls: calls >= 2 and calls // 2 % 2)


def load_pipe():
    start_helpers(work)
    return ToyPipeline()
