"""What a task demands of a candidate: a speedup, a latency, a limit on the quality loss.

It is read from the task's sentence, in English or Chinese, unless the task says it in fields of its own. How
people write demands stands in the tables of `harness.demands`; a number that no row of them recognises is not
a requirement: nothing is guessed.
"""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from harness.demands import Field, Found, easiest, find_demands

SAME = Fraction(1, 100)  # "33% less time, that is 1.5x" is one demand, rounded


class Source(StrEnum):
    """Where the values of a requirement come from."""

    TEXT = "text"
    FIELDS = "fields"
    BOTH = "text and fields"
    NONE = "none"


SOURCES = {  # by whether the text, and whether a field, gave a value
    (True, False): Source.TEXT,
    (False, True): Source.FIELDS,
    (True, True): Source.BOTH,
    (False, False): Source.NONE,
}
NAMES = {  # what it is called, and the task's key that settles it
    Field.SPEEDUP: ("speedup", "req_speedup"),
    Field.LATENCY: ("latency", "req_latency_s"),
    Field.QUALITY: ("largest quality loss", "max_quality_loss"),
}


@dataclass(frozen=True)
class Requirement:
    """What a candidate must reach: every value that is given. All None: nothing is demanded.

    speedup: at least, baseline seconds / candidate seconds.
    latency_s: at most, seconds per image.
    max_quality_loss: at most, a fraction (0.05 is 5%), in place of the configuration's limit.
    problem: demands of the text that contradict each other or that nothing can meet; the value is None then.
    """

    speedup: float | None = None
    latency_s: float | None = None
    max_quality_loss: float | None = None
    problem: str | None = None
    source: Source = Source.NONE


def read_requirement(
    text: str,
    *,
    speedup: float | None = None,
    latency_s: float | None = None,
    max_quality_loss: float | None = None,
) -> Requirement:
    """The requirement of a task: what the text demands, except where a field is given, which overrides it.

    A range ("1.5x to 2x") demands its easier end. A field also settles a contradiction in the text.
    """
    fields = {Field.SPEEDUP: speedup, Field.LATENCY: latency_s, Field.QUALITY: max_quality_loss}
    given = {field: value for field, value in fields.items() if value is not None}
    found = find_demands(text)
    read: dict[Field, float] = {}
    problems = []
    for field in Field:
        demands = [demand for demand in found if demand.field is field and field not in given]
        if problem := _problem(field, demands):
            problems.append(problem)
        elif demands:
            read[field] = float(easiest(field, [demand.value for demand in demands]))
    values = read | given
    return Requirement(
        speedup=values.get(Field.SPEEDUP),
        latency_s=values.get(Field.LATENCY),
        max_quality_loss=values.get(Field.QUALITY),
        problem="; ".join(problems) or None,
        source=SOURCES[bool(read), bool(given)],
    )


def _problem(field: Field, demands: list[Found]) -> str | None:
    """What is wrong with the demands of one field."""
    noun, key = NAMES[field]
    for demand in demands:
        if demand.value < 0 or (demand.value >= 1 if field is Field.QUALITY else demand.value == 0):
            return f"the text demands a {noun} that nothing can reach ({demand.amount}); set {key}"
    values = [demand.value for demand in demands]
    if values and max(values) > min(values) * (1 + SAME):
        amounts = " and ".join(dict.fromkeys(demand.amount for demand in demands))
        return f"the text demands more than one {noun} ({amounts}); set {key}"
    return None
