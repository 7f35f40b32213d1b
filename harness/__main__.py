"""`python -m harness` is the command `diffharness`."""

from harness.cli import main

main()
