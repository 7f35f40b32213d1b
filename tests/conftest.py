"""Before torch is imported anywhere: one thread for every process that a test starts, or is.

`make test` runs two tests at a time, and threads that wait for each other at every step stand still while another
process has one of their CPUs.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

# What takes longest comes first, so that the last minutes are not one file's.
LONGEST = (
    "test_rogues.py",
    "test_command.py",
    "test_pool.py",
    "test_gpu_actor.py",
    "test_cluster.py",
    "test_benchmarks.py",
)


def pytest_collection_modifyitems(items):
    """Files in the order of LONGEST, then as they were found."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))
