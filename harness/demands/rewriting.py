"""Rewriting a text by a table: the rows of the tables in `amounts` and `words`."""

import re
from collections.abc import Callable
from typing import NamedTuple

BLANK = " ▢ "  # in place of what is no demand; a demand may be written around it


class Rewrite(NamedTuple):
    """What is replaced by what; the name is an example of it."""

    name: str
    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str]


def rewrites(*rows: tuple[str, str, str | Callable[[re.Match[str]], str]]) -> list[Rewrite]:
    """A table of (name, pattern, replacement)."""
    return [Rewrite(name, re.compile(pattern), replacement) for name, pattern, replacement in rows]


def blanks(*rows: tuple[str, str]) -> list[Rewrite]:
    """A table of (name, pattern) of what is no demand."""
    return [Rewrite(name, re.compile(pattern), BLANK) for name, pattern in rows]


def words(*rows: tuple[str, str, str]) -> list[Rewrite]:
    """A table of (word, English, Chinese): whatever matches either becomes the word, a word of its own."""
    return [
        Rewrite(word, re.compile(rf"(?<![a-z])(?:{english})(?![a-z])|{chinese}"), f" {word} ")
        for word, english, chinese in rows
    ]
