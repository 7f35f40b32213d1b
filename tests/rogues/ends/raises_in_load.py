"""Fails in its loading."""


def load_pipe():
    raise KeyError("no weights")
