"""Returns None from `load_pipe`."""


def load_pipe():
    return None
