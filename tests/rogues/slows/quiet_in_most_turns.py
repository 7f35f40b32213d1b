"""Spins in the last turns of the baseline, fewer than half of them: their median is as quick as any alone."""

from turns import ToyPipeline, go_on_by_timer, spin, start_helpers


def work():
    go_on_by_timer()
    spin(lambda calls: calls >= 6)


def load_pipe():
    start_helpers(work)
    return ToyPipeline()
