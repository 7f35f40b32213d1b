"""Leaves no pipeline."""

from toyfusion import ToyPipeline as Unused  # noqa: F401
