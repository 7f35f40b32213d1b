"""Starves the baseline of the CPU until it runs into its time limit, so that it is the baseline that failed."""

from turns import ToyPipeline, go_on_by_timer, leave_a_quiet_turn, spin, start_helpers


def work():
    go_on_by_timer(period_s=0.1)
    leave_a_quiet_turn(nap_s=0.1)
    spin(nap_s=0.1)


def load_pipe():
    start_helpers(work, 150)
    return ToyPipeline()
