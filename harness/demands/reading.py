"""Reading a text: the tables, applied in their order."""

import re
from dataclasses import dataclass
from fractions import Fraction

from harness.demands.amounts import OTHER_NUMBERS, QUANTITIES, SPELLINGS
from harness.demands.phrases import DEMANDS, Demand, Field
from harness.demands.words import STATEMENTS, WORDS

READ = " ■ "  # in place of a demand that was read; no other demand reaches across it

# Full-width letters, digits and punctuation, as Chinese keyboards write them.
ASCII = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | {
    ord("\u3000"): " ",
    ord("\u00a0"): " ",
    ord("，"): ", ",
    ord("、"): ", ",
    ord("；"): "; ",
    ord("。"): ". ",
}

# Where a long line goes on. After a short one, or before a capital, a bullet, "2." or "steps: 50", a new line is new.
WRAPPED = re.compile(r"(?<=[^\n]{49}[^\s.,;:!?])[ \t]*\r?\n[ \t]*(?=[a-z\d≥≤<>])(?!\d+[.)]\s|[^\n]{0,30}[:=])")


@dataclass(frozen=True)
class Found:
    """A demand of a text: the field's value, and the amount as it was written, such as "1.5 to 2x"."""

    field: Field
    value: Fraction
    amount: str


def find_demands(text: str) -> list[Found]:
    """All demands of a text. A range demands its easier end."""
    text = simplify(text)
    found = []
    for demand in DEMANDS:
        found += [_found(demand, match) for match in demand.pattern.finditer(text)]
        text = demand.pattern.sub(READ, text)
    return found


def easiest(field: Field, values: list[Fraction]) -> Fraction:
    """The value that is reached first: the least speedup, the largest latency or quality loss."""
    return min(values) if field is Field.SPEEDUP else max(values)


def simplify(text: str) -> str:
    """The text in the words and amounts that the demands are written in, line by line."""
    lines = WRAPPED.sub(" ", text.translate(ASCII)).lower().splitlines()
    return "\n".join(_simplify_line(line) for line in lines)


def _simplify_line(line: str) -> str:
    for rewrite in [*SPELLINGS, *OTHER_NUMBERS, *QUANTITIES, *WORDS, *STATEMENTS]:
        line = " ".join(rewrite.pattern.sub(rewrite.replacement, line).split())
    return line


def _found(demand: Demand, match: re.Match[str]) -> Found:
    groups = match.groupdict()
    unit = groups["unit"]
    scale = Fraction(1, int(groups.get("count") or 1)) / (100 if unit == "%" else 1)
    ends = [Fraction(end) for end in (groups["low"], groups["high"]) if end]
    values = [demand.meaning(end * scale, unit) for end in ends]
    written = " to ".join(f"{float(end):g}" for end in ends) + unit
    return Found(demand.field, easiest(demand.field, values), written)
