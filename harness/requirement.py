"""What a task's sentence demands: a speedup, a latency, a limit on the quality loss, in English or Chinese.

The text goes through four tables, in this order. To teach the reader something new, add a row to one of them.

1. ``SPELLINGS``: one spelling for what can be written in several ways (``twice`` is ``2x``, ``half`` is ``50%``).
2. ``NOT_DEMANDS``: numbers that demand nothing (steps, GPU names, what the baseline takes now) are blanked.
3. ``QUANTITIES``: amounts and comparisons become ``2x``, ``40%``, ``1.5s``, ``1.5~2x``, ``≥`` and ``≤``.
4. ``DEMANDS``: the demands in what is left; each one found is blanked, so that it counts once.

A number that no row recognises is not a requirement: nothing is guessed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple


class Source(StrEnum):
    """Where the values of a requirement come from."""

    TEXT = "text"
    FIELDS = "fields"
    BOTH = "text and fields"
    NONE = "none"


@dataclass(frozen=True)
class Requirement:
    """What a candidate must reach; every value that is given must hold. All None: nothing is demanded.

    speedup: at least, baseline seconds / candidate seconds.
    latency_s: at most, seconds per image.
    max_quality_loss: at most, a fraction (0.05 is 5%); overrides the configuration's limit.
    problem: what the text demands but cannot be read, such as two speedups; the value concerned is None then.
    """

    speedup: float | None = None
    latency_s: float | None = None
    max_quality_loss: float | None = None
    problem: str | None = None
    source: Source = Source.NONE


# --- conversions ---
def gain(amount: Fraction, unit: str) -> Fraction:
    """Speedup of what is 2x or 50% faster."""
    return 1 + amount if unit == "%" else amount


def chinese_gain(amount: Fraction, unit: str) -> Fraction:
    """As `gain`, but 快 1 倍 is twice as fast: once as fast would be no gain."""
    return 1 + amount if unit == "%" or amount <= 1 else amount


def cut(amount: Fraction, unit: str) -> Fraction:
    """Speedup of what takes 40% less time or whose time is cut 2x; 0 where no time would be left."""
    if unit == "x":
        return amount
    return 1 / (1 - amount) if amount < 1 else Fraction(0)


def share_of_time(amount: Fraction, unit: str) -> Fraction:
    """Speedup of what takes 60% of the baseline's time; 0 where no time would be left."""
    return 1 / amount if amount else Fraction(0)


def as_written(amount: Fraction, unit: str) -> Fraction:
    """The amount itself."""
    return amount


def kept(amount: Fraction, unit: str) -> Fraction:
    """Loss of what keeps 95% of the baseline's quality."""
    return 1 - amount


def seconds(amount: Fraction, unit: str) -> Fraction:
    """Seconds per image."""
    return amount * {"s": Fraction(1), "ms": Fraction(1, 1000), "min": Fraction(60)}[unit]


def seconds_of_rate(amount: Fraction, unit: str) -> Fraction:
    """Seconds per image of 2 images per second; 0 where there are none."""
    return 1 / amount if amount else Fraction(0)


ENGLISH_NUMBERS = dict(
    zip(("one two three four five six seven eight nine ten twenty thirty forty fifty").split(),
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40, 50], strict=True)
)  # fmt: skip
CHINESE_DIGITS = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"两": 2}
CHINESE_NUMBER = "[零一二两三四五六七八九十]+(?:点[零一二三四五六七八九]+)?"


def _chinese_number(text: str) -> str:
    """二十 is 20, 十五 is 15, 一点五 is 1.5; digits stay as they are."""
    if text[0].isdigit():
        return text
    whole, point, decimals = text.partition("点")
    tens, ten, ones = whole.rpartition("十")
    value = (CHINESE_DIGITS.get(tens, 1) * 10 if ten else 0) + CHINESE_DIGITS.get(ones, 0)
    return str(value) + ("." if point else "") + "".join(str(CHINESE_DIGITS[digit]) for digit in decimals)
