"""The demands: what is searched for in a text whose words and amounts `amounts` and `words` have rewritten."""

import re
from collections.abc import Callable
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple


class Field(StrEnum):
    """The value of a requirement that a demand sets."""

    SPEEDUP = "speedup"
    LATENCY = "latency_s"
    QUALITY = "max_quality_loss"


class Demand(NamedTuple):
    """One way to write a demand.

    The groups of its pattern are low, high (of a range), unit, and count (of images, where there are several).
    Its meaning makes the field's value of an amount and its unit; an amount in % comes as a fraction.
    """

    field: Field
    name: str
    pattern: re.Pattern[str]
    meaning: Callable[[Fraction, str], Fraction]


def _ratio(amount: Fraction, unit: str) -> Fraction:
    """Speedup of 2x or 50%."""
    return 1 + amount if unit == "%" else amount


def _gain(amount: Fraction, unit: str) -> Fraction:
    """Speedup of what is faster by 2x or 50%. 快 1 倍 is twice as fast: once as fast would be no gain."""
    return 1 + amount if unit == "%" or 0 < amount <= 1 else amount


def _cut(amount: Fraction, unit: str) -> Fraction:
    """Speedup of what takes 40% less time, or whose time is cut 2x; 0 where no time would be left."""
    if unit == "x":
        return amount
    return 1 / (1 - amount) if amount < 1 else Fraction(0)


def _inverse(amount: Fraction, unit: str) -> Fraction:
    """Speedup of what takes 60% of the time; seconds per image of 2 images per second; 0 of 0."""
    return 1 / amount if amount else Fraction(0)


def _as_written(amount: Fraction, unit: str) -> Fraction:
    return amount


def _kept(amount: Fraction, unit: str) -> Fraction:
    """Loss of what keeps 95% of the quality."""
    return 1 - amount


def _seconds(amount: Fraction, unit: str) -> Fraction:
    return amount * {"s": Fraction(1), "ms": Fraction(1, 1000), "min": Fraction(60)}[unit]


def _amount(unit: str) -> str:
    number = r"\d{1,9}(?:\.\d{1,20}|/[1-9]\d?)?"
    return rf"(?<![a-z\d.,/~])(?P<low>{number})(?:~(?P<high>{number}))?(?P<unit>{unit})(?![a-z\d])"


def _demands(field: Field, *rows: tuple[str, str, Callable[[Fraction, str], Fraction]]) -> list[Demand]:
    return [Demand(field, name, re.compile(pattern), meaning) for name, pattern, meaning in rows]


# "At most 2x" is no demand of a speedup, as there is nothing to reach.
TIMES = rf"≥?(?<![≤±]){_amount('x')}"
AMOUNT = rf"≥?(?<![≤±]){_amount('[x%]')}"
SHARE = _amount("%")
SECONDS = _amount("ms|s|min")
COUNT = r"(?P<low>\d{1,9}(?:\.\d{1,20})?)(?:~(?P<high>\d{1,9}(?:\.\d{1,20})?))?(?P<unit>)"
# A number without a unit, such as "a speedup of 1.8", at the end of what is said.
BARE = (
    rf"≥?(?<![\w.,/~≤±]){COUNT}(?=\s*(?:$|[;:!?)}}\n■且并同]|,(?! ?\d)|\.(?!\d)"
    r"|(?:and|with|while|over|than|on|in|at|vs|for|but|or|when|compared|BASELINE|KEEP)\b))"
)

ANYHOW = r"(?:(?!OTHER|QUALITY|LOSS|STATED|■)[^\d,;.!?\n≤±]|\.(?=\w)){0,80}?"  # words about the same thing
QUALITY_WORDS = r"[^\d,;.!?\n■]{0,60}?"
LINK = r"(?:[\s:=()≥\"']|of|by|to|at|over|than|vs\.?|MUST|STATES|MORE|IMPROVE|BASELINE|TIME){0,20}"
CUT = "(?:CUT|IMPROVE)"
WORSE = "(?:LOSS|CUT)"
CUT_TIME = rf"(?:{CUT}{ANYHOW}TIME|TIME{ANYHOW}{CUT})"
OF_BASELINE = "(?: of| off| in| BASELINE| MAKE)*"
COMMAND = r"(?:^|[\n.,;:!?]|MUST|\band|\bto)"  # what one begins with

DEMANDS = [
    *_demands(
        Field.SPEEDUP,
        ("40% less time", rf"{AMOUNT} (?:MORE )?{CUT}{OF_BASELINE} TIME", _cut),
        ("40% latency reduction", rf"{AMOUNT} TIME {CUT}", _cut),
        ("reduction of 40% in latency", rf"{CUT}(?: of| by| off)? {AMOUNT}{OF_BASELINE} TIME", _cut),
        ("reduce the latency by 40%", rf"{CUT_TIME}{ANYHOW}(?:\b(?:by|of|MUST)|:) {AMOUNT}", _cut),
        ("延迟降低 40%", rf"{CUT_TIME} {AMOUNT}", _cut),
        ("latency 40% lower", rf"TIME{LINK}{AMOUNT} CUT", _cut),
        ("latency to 40%", rf"TIME{ANYHOW}(?:\b(?:to|in|STATES|MUST) ≤?|≤){SHARE}", _inverse),
        ("in half the time", rf"(?:(?:\bin|\bat|\btake|[在用]|MUST) |≤){SHARE}{OF_BASELINE} TIME", _inverse),
        ("half the time", rf"(?<!by )(?<!of )(?<!CUT ){SHARE}(?: BASELINE)* TIME", _inverse),
        ("half as long", rf"{SHARE} as long", _inverse),
        ("speed to 200%", rf"(?:SPEED|FASTER|SPEEDUP){ANYHOW}\bto {AMOUNT}", _as_written),
        ("speed 200% of the baseline", rf"(?:SPEED\b|FASTER){ANYHOW}{AMOUNT} of BASELINE", _as_written),
        ("200% of the speed", rf"{AMOUNT} of (?:BASELINE )*SPEED\b", _as_written),
        (
            "2x faster",
            rf"{AMOUNT}(?: MORE| IMPROVE| in| BASELINE| TIME)* (?:FASTER|SPEEDUP|SPEED)\b(?! OTHER)",
            _ratio,
        ),
        ("speedup of 2x", rf"SPEEDUP{LINK}{AMOUNT}", _ratio),
        ("speedup of 2", rf"SPEEDUP{LINK}{BARE}", _ratio),
        ("faster by 2x", rf"(?:FASTER|SPEED\b){ANYHOW}(?:\bby|MORE|IMPROVE) {AMOUNT}", _gain),
        ("快 2 倍", rf"(?:FASTER|(?:MORE|IMPROVE) SPEED) {AMOUNT}", _gain),
        ("speed up the pipeline by 50%", rf"SPEEDUP{ANYHOW}\bby {AMOUNT}", _ratio),
        ("speed up the pipeline 2x", rf"(?:SPEEDUP|FASTER|SPEED){ANYHOW}{TIMES}", _ratio),
        ("reach 2x over the baseline", rf"MUST {TIMES} (?:over|of|than|BASELINE)", _ratio),
    ),
    *_demands(
        Field.LATENCY,
        ("must be 2 s per image", rf"(?:MUST|\bto\b)(?:(?!STATES)[^\d,;.!?\n≤]){{0,60}}?{SECONDS} PERIMAGE", _seconds),
        ("4 images under 8 s", rf"(?<!\d)(?P<count>[1-9]\d{{0,5}}) (?:images|pictures){ANYHOW}≤{SECONDS}", _seconds),
        ("latency under 2 s", rf"(?:TIME|PERIMAGE|MAKE|\bimages?\b){ANYHOW}≤{SECONDS}", _seconds),
        ("in under 2 s an image", rf"≤{SECONDS}{ANYHOW}(?:TIME|PERIMAGE|MAKE)", _seconds),
        ("latency down to 2 s", rf"{CUT_TIME}{ANYHOW}\bto {SECONDS}", _seconds),
        ("down to 2 s", rf"CUT to ≤?{SECONDS}", _seconds),
        ("latency target of 2 s", rf"TIME MUST{LINK}{SECONDS}", _seconds),
        ("must have a latency of 2 s", rf"MUST{ANYHOW}TIME{LINK}{SECONDS}", _seconds),
        ("max latency 2 s", rf"max(?:imum)?(?: ALLOW)? TIME{LINK}{SECONDS}", _seconds),
        ("each image must take 2 s", rf"PERIMAGE{ANYHOW}MUST{ANYHOW}{SECONDS}", _seconds),
        ("make an image in 2 s", rf"{COMMAND} ?MAKE PERIMAGE in {SECONDS}", _seconds),
        ("at least 2 images per second", rf"≥{COUNT} PERSECOND", _inverse),
        ("每秒至少 2 张", rf"每秒(?: ?MAKE)? ?≥ ?(?:MAKE )?{COUNT} ?张", _inverse),
    ),
    *_demands(
        Field.QUALITY,
        ("quality loss of at most 3%", rf"QUALITY{QUALITY_WORDS}{WORSE}{QUALITY_WORDS}[≤±]{SHARE}", _as_written),
        ("at most 3% quality loss", rf"[≤±]{SHARE}(?: of| in| QUALITY)* {WORSE}", _as_written),
        ("loss of quality of at most 3%", rf"{WORSE}{QUALITY_WORDS}QUALITY{QUALITY_WORDS}[≤±]{SHARE}", _as_written),
        ("lose at most 3% of the quality", rf"{WORSE}{QUALITY_WORDS}[≤±]{SHARE}(?: of| in)? QUALITY", _as_written),
        ("quality loss of 3%", rf"QUALITY LOSS(?:[\s:=]|of|to|MUST|ALLOW|STATES){{0,9}}{SHARE}", _as_written),
        (
            "allow a quality loss of 3%",
            rf"ALLOW{QUALITY_WORDS}QUALITY{QUALITY_WORDS}{WORSE}(?: of| by)? {SHARE}",
            _as_written,
        ),
        ("max quality loss 3%", rf"max(?:imum)?(?: ALLOW)? QUALITY {WORSE}(?: of)? {SHARE}", _as_written),
        ("quality may drop by 3%", rf"QUALITY ALLOW {WORSE}(?: by)? {SHARE}", _as_written),
        ("allow 3% quality loss", rf"ALLOW {SHARE} QUALITY {WORSE}", _as_written),
        ("3% quality loss at most", rf"{SHARE} QUALITY {WORSE} at most", _as_written),
        ("quality within 3%", rf"QUALITY{QUALITY_WORDS}±{SHARE}", _as_written),
        ("keep 97% of the quality", rf"KEEP[^\d,;.■≤]{{0,60}}?{SHARE}(?: of| BASELINE)* QUALITY(?! {WORSE})", _kept),
        ("at least 97% of the quality", rf"≥{SHARE} of(?: BASELINE)? QUALITY(?! {WORSE})", _kept),
        ("quality at least 97% of", rf"QUALITY[^\d,;.■≤]{{0,60}}?{SHARE} of BASELINE", _kept),
    ),
]
