"""Text of a model file: nothing of it steers what shows it, and what people write stays as it is."""

import json
import unicodedata

import pytest

from actors.escaped import escaped, no_formula
from actors.messages import Status
from actors.profiling import read_profile
from actors.sandbox import ChildFailure
from actors.side import ask_config

HOSTILE = {
    "\x1b[2J": r"\x1b[2J",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "\x9b31m": r"\x9b31m",
    "a\x00\x7f\r\x08": r"a\x00\x7f\r\x08",
    "a\u202egpj.exe": r"a\u202egpj.exe",
    "\u2066\u2069\u200e\u200f\u061c": r"\u2066\u2069\u200e\u200f\u061c",
    "a\u2028b\u2029c": r"a\u2028b\u2029c",
    "pay\u200bpal\u2060\ufeff\u00ad": r"pay\u200bpal\u2060\ufeff\xad",
    "a\u200db\u200c": r"a\u200db\u200c",
    "x\U000e0041\U000e007f": r"x\U000e0041\U000e007f",
    "x\ufe01\ufe02\U000e0100": "x\ufe01" + r"\ufe02\U000e0100",
    "\ud800": r"\ud800",
}
READABLE = [
    "load: ValueError: a path C:\\new\\x41 and 50% of “it”",
    "生成图像失败:内存不足",
    "نموذج الصورة",
    "می\u200cخواهم",  # Persian: without its joiner another word
    "क्\u200dष",
    "Größe 한국어 ไทย 日本語 葛\U000e0100",
    "👩\u200d👩\u200d👧 ❤\ufe0f 🏳\ufe0f\u200d🌈 👍🏽 1\ufe0f\u20e3 🇩🇪",
]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
@pytest.mark.parametrize("lines", [False, True])
def test_what_steers_or_hides_is_shown_by_its_number(text, lines):
    assert escaped(text, lines) == HOSTILE[text]
    assert escaped(escaped(text, lines), lines) == HOSTILE[text], "the second time changes nothing"


@pytest.mark.parametrize("text", READABLE)
def test_what_people_write_stays_as_it_is(text):
    assert escaped(text) == escaped(text, lines=True) == text


def test_a_line_has_one_line_and_a_log_several():
    assert escaped("a\n\tb\r\n") == r"a\n\tb\r\n"
    assert escaped("a\n\tb\r\n", lines=True) == "a\n\tb\\r\n"


def test_every_control_and_format_character_alone_is_shown():
    visible = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)}
    odd = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert {ord(char) for char in odd if escaped(char) == char} <= visible
    assert not [char for char in map(chr, range(0x3000)) if char.isalnum() and escaped(char) != char and char.isupper()]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\uff1d1", "\n=1"])
def test_no_text_is_a_formula(text):
    assert no_formula(text) == f"'{text}"
    assert no_formula(no_formula(text)) == f"'{text}"
    assert no_formula(f"x{text}") == f"x{text}"


# Where it comes in


def test_a_failure_of_a_child_is_escaped():
    failure = ChildFailure(Status.LOAD_ERROR, "load: \x1b[2J\n\u202e", "a\n\x1b]0;b\x07")
    assert failure.detail == r"load: \x1b[2J\n\u202e"
    assert failure.log == "a\n\\x1b]0;b\\x07"
    assert str(failure).isprintable()


def test_the_name_of_a_kernel_is_escaped():
    said = {"gpu_s": 1.0, "launches": 1, "top_kernels": [["gemm\x1b[2J\n", 1.0]]}
    assert read_profile({"profile": said}).top_kernels == (("gemm\\x1b[2J\\n", 1.0),)


def test_the_facts_of_a_live_pipeline_are_escaped():
    class Child:
        def ask(self, *_):
            names = {"pipeline_class": "A\x1b[2J", "model_id": "a\nb", "scheduler_class": "\u202eX"}
            return json.loads(json.dumps({"config": {**names, "num_inference_steps": 1, "methods": []}})), b"", 0.0

    config = ask_config(Child())
    assert (config.pipeline_class, config.model_id, config.scheduler_class) == (r"A\x1b[2J", r"a\nb", r"\u202eX")
