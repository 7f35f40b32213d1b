"""Text of a model file, so that whoever opens a record in a terminal or a spreadsheet is safe.

What steers a terminal, turns the direction of a line, breaks one, or is not seen at all is shown by its number, as
Python writes it: `\\x1b`, `\\u202e`, `\\U000e0041`. All else stays as it is, in any script. A backslash is not doubled:
paths and tracebacks stay readable, and what was escaped once is not changed by the second time; the price is that a
backslash, an x and two digits in the original look the same as what was escaped.
"""

from __future__ import annotations

import functools
import re

# Joiners mean something between two letters of the Arabic and Indic scripts, and within an emoji.
_JOINED = "\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff\u0900-\u0dff\u0f00-\u109f\u1780-\u17ff\ufb50-\ufdff\ufe70-\ufefc"
_EMOJI = "\u2190-\u21ff\u2300-\u27bf\u2900-\u297f\u2b00-\u2bff\ufe0f\U0001f000-\U0001faff"
_SELECTORS = (
    "\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"  # each chooses the shape of the one character before it
)
_UNSEEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e"  # soft hyphen, joiners, fillers
    "\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"  # zero width, bidi, breaks of lines
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"  # tags among them
    "\ud800-\udfff"  # halves of pairs, which UTF-8 has not
)
_ODD = (
    f"|[{_UNSEEN}]"
    f"|(?<![{_JOINED}{_EMOJI}])[\u200c\u200d]|[\u200c\u200d](?![{_JOINED}{_EMOJI}])"
    f"|(?<=[{_SELECTORS}\\s])[{_SELECTORS}]|^[{_SELECTORS}]"
)
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")  # the wide ones count in Japanese spreadsheets


def escaped(text: str, lines: bool = False) -> str:
    """The text with what must not reach a terminal shown by its number. lines: it may have several, as a log has."""
    return _odd(lines).sub(_number, text)


def no_formula(text: str) -> str:
    """The text, behind an apostrophe where a spreadsheet would take it for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


@functools.cache
def _odd(lines: bool) -> re.Pattern[str]:
    """What is shown by its number. Made when it is needed, which is never in a child."""
    controls = "\x00-\x08\x0b-\x1f\x7f-\x9f" if lines else "\x00-\x1f\x7f-\x9f"  # lines may hold tabs and their ends
    return re.compile(f"[{controls}]{_ODD}")


def _number(found: re.Match[str]) -> str:
    char = found[0]
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
