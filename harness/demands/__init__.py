"""What a text demands: how people write speedups, latencies and limits of the quality loss, in English and Chinese.

A text is rewritten, table by table, until few words are left and its amounts look alike::

    Reduce the inference time of SD 1.5 at 50 steps by at least 40%; 画质损失不超过 5%
    CUT TIME of ▢ at ▢ by ≥40%; QUALITY LOSS ≤5%

1. ``amounts.SPELLINGS``: one spelling for signs and numbers (``twice`` is ``2x``, ``half`` is ``50%``).
2. ``amounts.OTHER_NUMBERS``: numbers that are never a demand (steps, GPU names, resolutions) are blanked.
3. ``amounts.QUANTITIES``: ``2x``, ``40%``, ``1.5s``, ``1.5~2x`` (a range), ``≥`` (at least), ``≤`` (at most),
   ``±`` (within).
4. ``words.WORDS``: capital words, each for what it stands for in both languages.
5. ``words.STATEMENTS``: amounts that are told and not demanded are blanked.
6. ``phrases.DEMANDS``: what is searched for in the end. What one row has read is gone for the rows after it.

To teach the reader something new, add a row. A number that no row recognises is not a demand: nothing is guessed.
"""

from harness.demands.phrases import Field
from harness.demands.reading import Found, easiest, find_demands, simplify

__all__ = ["Field", "Found", "easiest", "find_demands", "simplify"]
