"""Spins in all turns of the baseline but the first: the quickest of them is as quick as any alone."""

from turns import ToyPipeline, go_on_by_timer, leave_a_quiet_turn, spin, start_helpers


def work():
    go_on_by_timer()
    leave_a_quiet_turn()
    spin()


def load_pipe():
    start_helpers(work)
    return ToyPipeline()
