"""Before torch is imported anywhere: one thread for every process that a test starts, or is.

`make test` runs two tests at a time, but for those marked `alone`, whose times are judged. Threads that wait for each
other at every step stand still while another process has one of their CPUs.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
