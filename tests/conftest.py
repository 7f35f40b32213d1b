"""Before torch is imported anywhere: one thread for every process that a test starts, or is.

`make test` runs two tests at a time, but for those marked `alone`, whose times are judged. Threads that wait for each
other at every step stand still while another process has one of their CPUs.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

LONGEST = "test_command.py"


def pytest_collection_modifyitems(items):
    """Has the longest file begin first: as the last one it would leave one of the two processes with nothing to do.

    The Makefile's `--no-loadscope-reorder` keeps it first; xdist would begin with the file that has the most tests.
    """
    items.sort(key=lambda item: item.path.name != LONGEST)
