"""Draws what is asked of both sides of a pair: prompts, seeds and the order of turns.

Untrusted code must never see the same question twice. Each attempt at each pair, and each layout within it, has a key
of its own, and everything is drawn from that key by a hash. A candidate that knows all questions of other pairs, and
those that it was asked itself, can therefore not tell the next one.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from actors.messages import Batch, Layout, Plan

SEEDS = 2**31  # seeds are below this: every generator takes them
CALLS_ALONE = 5  # of the baseline, after the candidate's end
BLOCK_PAIRS = 4  # where memory does not hold both sides: so many blocks of each


class KeyedRandom(random.Random):
    """SHA-256 in counter mode behind Python's interface.

    The state of Python's own generator can be solved from what it has drawn.
    """

    def __init__(self, key: str) -> None:
        self._key, self._counter = key.encode(), 0
        super().__init__(0)

    def random(self) -> float:
        """Draw a number in [0, 1)."""
        return self.getrandbits(53) / 2**53

    def getrandbits(self, k: int, /) -> int:
        """Draw k bits."""
        drawn = b""
        while len(drawn) * 8 < k:
            drawn += hashlib.sha256(self._key + self._counter.to_bytes(8, "big")).digest()
            self._counter += 1
        return int.from_bytes(drawn, "big") >> (len(drawn) * 8 - k)


@dataclass(frozen=True)
class Draw:
    """All that is asked in one layout of one attempt at a pair."""

    warmup: tuple[tuple[Batch, ...], ...]  # of each start
    burn_in: tuple[tuple[Batch, ...], ...]  # likewise
    timed: tuple[Batch, ...]  # the batches to judge, and those that replace disturbed ones
    profile: Batch  # of the candidate
    alone: tuple[Batch, ...]  # of the baseline, after the candidate's end
    stretches: tuple[Batch, ...]  # of the baseline, each in a call that lies apart from the others
    other_seeds: tuple[int, ...]  # for the prompts of one timed batch, asked once more at the end
    order: str  # key of the coins that say which side begins, and of the lot that draws the sample


def draw(captions: Sequence[Sequence[str]], plan: Plan, layout: Layout) -> Draw:
    """Draw the requests of one layout.

    Each prompt is a caption of a row of its own, until all rows were drawn once.

    Args:
        captions: the captions of each row, at least one row with at least one caption.
        plan: gives the key and the numbers of batches.
        layout: each has questions of its own.
    """
    key = f"{plan.key} {layout}"
    starts = plan.starts if layout is Layout.INTERLEAVED else block_pairs(plan)
    batches = iter(_batches(captions, plan.batch_size, batches_of(plan, starts), key))

    def take(count: int) -> tuple[Batch, ...]:
        return tuple(itertools.islice(batches, count))

    return Draw(
        warmup=tuple(take(plan.warmup_at_most) for _ in range(starts)),
        burn_in=tuple(take(plan.burn_in) for _ in range(starts)),
        timed=take(plan.batches + plan.repeats),
        profile=next(batches),
        alone=take(CALLS_ALONE),
        stretches=take(plan.stretches),
        other_seeds=tuple(KeyedRandom(f"{key} other seeds").sample(range(SEEDS), plan.batch_size)),
        order=f"{key} order",
    )


def block_pairs(plan: Plan) -> int:
    """How many blocks of each side a pair in blocks has."""
    return min(BLOCK_PAIRS, plan.batches)


def batches_of(plan: Plan, starts: int) -> int:
    """How many batches are drawn for one layout with so many starts."""
    of_starts = starts * (plan.warmup_at_most + plan.burn_in)
    return of_starts + plan.batches + plan.repeats + 1 + CALLS_ALONE + plan.stretches


def share(batches: int, parts: int, part: int) -> int:
    """How many of `batches` the part with this number has, from 0: as equal as can be, the first ones larger."""
    return batches // parts + (part < batches % parts)


def _batches(captions: Sequence[Sequence[str]], size: int, count: int, key: str) -> Iterator[Batch]:
    rows = _rows(len(captions), count * size, KeyedRandom(f"{key} rows"))
    for number in range(count):
        generator = KeyedRandom(f"{key} batch {number}")
        own = rows[number * size : (number + 1) * size]
        prompts = tuple(generator.choice(captions[row]) for row in own)
        yield Batch(prompts, tuple(generator.sample(range(SEEDS), size)))


def _rows(rows: int, count: int, generator: random.Random) -> list[int]:
    """Draw row numbers without replacement; once all were drawn, all may be drawn again."""
    drawn: list[int] = []
    while len(drawn) < count:
        drawn += generator.sample(range(rows), min(rows, count - len(drawn)))
    return drawn
