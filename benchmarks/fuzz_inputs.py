"""What a hostile child may write: hypothesis strategies for frames, headers, values and texts.

Headers are made as JSON text and not as values, so that they hold what no honest writer makes: a key twice, brackets
without end, numbers of any length.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from actors.protocol import MAX_HEADER_BYTES, PREFIX

LONGEST = 200_000  # characters of what is repeated: more of a header says nothing new, and costs time
PIPE_BYTES = 1 << 20  # what a pipe holds, as far as a plain user may ask for

# The end of every answer; the channel of the target puts the request's own nonce there.
NONCE = "@nonce@"
NONCE_FIELD = f'"nonce":"{NONCE}"'

# Steers a terminal, breaks a line, turns its direction; and what UTF-8 cannot hold.
NASTY = ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\r\n", "\x00", "\u202e", "\u2028", "\ud800", "\U0001f600", "[bold]"]
NUMBERS = [0, 1, 24, 2**53 + 1, 2**60 - 1, 2**60, 2**63, 2**64, 10**400, 0.5, 5e-324, 1e308]

CONFIG = {
    "pipeline_class": "P",
    "model_id": "m",
    "scheduler_class": "S",
    "num_inference_steps": 24,
    "methods": ["deepcache", "torch_compile"],
}
GENERATE = {
    "shape": [2, 2, 2, 3],
    "device_s": 1e-9,
    "denoiser_calls": 24,
    "peak_memory_bytes": 2**33,
    "alloc_retries": 0,
}
PIXELS = bytes(24)
PROFILE = {"gpu_s": 1.5, "launches": 63_000, "top_kernels": [["gemm", 0.75], ["softmax", 0.25]]}


@dataclass(frozen=True)
class Answer:
    """What a child writes after a request: the JSON text of its header, its payload, and whether it then closes."""

    header: str
    payload: bytes = b""
    closes: bool = True


@dataclass(frozen=True)
class Answers:
    """What a child answers to each request of a pair, and the code that its process ends with."""

    config: Answer
    generate: Answer
    profile: Answer
    load: Answer
    code: int


HONEST_LOAD = Answer("{" + NONCE_FIELD + "}")

# How often a piece is repeated: mostly not often, for speed, and one time in 64 as often as it goes.
repeats = st.integers(1, 64).map(lambda number: LONGEST if number == 64 else number * number)

texts = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=20),
    st.sampled_from(NASTY),
    st.builds(lambda piece, times: (piece * times)[:LONGEST], st.sampled_from([*NASTY, "a"]), repeats),
)


def nested(opening: str, closing: str) -> st.SearchStrategy[str]:
    """Brackets in brackets: about as deep as Python recurses, and much deeper."""
    return (st.integers(850, 1100) | repeats).map(lambda depth: opening * depth + closing * depth)


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),  # NaN and the infinities too: Python's json writes and reads them
        st.sampled_from([sign * number for number in NUMBERS for sign in (1, -1)]),
        texts,
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
json_texts = st.one_of(
    json_values.map(json.dumps),
    nested("[", "]"),
    nested('{"a":', "}"),
    repeats.map(lambda digits: "9" * digits),
    st.integers(1, 5000).map(lambda digits: f"1e{'9' * digits}"),
    st.builds(
        lambda piece, times: f"[{','.join([piece] * min(times, LONGEST // len(piece)))}]",
        st.sampled_from(["[]", "{}", '{"":0}', "0", "1e15", '"\\u0000"']),
        repeats,
    ),
    st.sampled_from(["", "nul", "NaN", "-Infinity", '"\\ud800"', "\ufeff{}", "1_0", "0x1"]),
)


def claims(honest: Mapping[str, Any]) -> st.SearchStrategy[str]:
    """A JSON object: the honest one with some of its fields left out, given another value, or given twice."""
    return fields_of({key: st.just(json.dumps(value)) for key, value in honest.items()})


def fields_of(honest: Mapping[str, st.SearchStrategy[str]]) -> st.SearchStrategy[str]:
    """As `claims`, of fields that have strategies of their own."""
    keys = st.sampled_from([*honest, "error", "message", "traceback"]) | st.text(max_size=5)
    base = st.fixed_dictionaries(dict(honest))
    others = st.lists(st.tuples(keys, json_texts), max_size=2)
    return st.builds(_object, base, st.sets(st.sampled_from(list(honest)), max_size=1), others)


def _object(base: Mapping[str, str], left_out: set[str], others: list[tuple[str, str]]) -> str:
    pairs = [(key, text) for key, text in base.items() if key not in left_out] + others
    return "{" + ",".join(f"{json.dumps(key)}:{text}" for key, text in pairs) + "}"


def some(honest: Mapping[str, Any], **odd: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    """The honest object; or with odd values that may pass; or as `claims` makes it."""
    passing = {key: odd.get(key, st.just(value)).map(json.dumps) for key, value in honest.items()}
    odd_texts = st.fixed_dictionaries(passing).map(lambda base: _object(base, set(), []))
    return st.just(json.dumps(honest)) | odd_texts | odd_texts | claims(honest)


def with_nonce(header: str) -> str:
    """The JSON object with the nonce as its last field, which is the one that counts."""
    return f"{header[:-1]}{',' if len(header) > 2 else ''}{NONCE_FIELD}}}"


def frame(header: bytes, payload: bytes, header_claim: int | None = None, payload_claim: int | None = None) -> bytes:
    """A frame whose prefix claims these lengths; None: the true ones."""
    sizes = (
        len(header) if header_claim is None else header_claim,
        len(payload) if payload_claim is None else payload_claim,
    )
    return (PREFIX.pack(*sizes) + header + payload)[: PIPE_BYTES - 4096]


header_bytes = st.one_of(
    json_texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
    claims({"shape": [1, 2, 2, 3], "device_s": 0.5}).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=200),
    st.builds(
        lambda text, code: text.encode(code), st.just('{"a":1}'), st.sampled_from(["utf-16", "utf-32", "utf-8-sig"])
    ),
)
lengths = st.none() | st.integers(0, 100) | st.sampled_from([MAX_HEADER_BYTES, MAX_HEADER_BYTES + 1, 2**31, 2**32 - 1])
long_lengths = lengths | st.sampled_from([2**40, 2**63, 2**64 - 1])
frames = st.one_of(
    st.binary(max_size=300),
    st.builds(frame, header_bytes, st.binary(max_size=100), lengths, long_lengths),
    st.builds(frame, header_bytes, st.binary(max_size=100)),
)

counts = st.none() | st.integers(0, 2**60 - 1)
shares = st.floats(0, 1)
some_config = some(
    CONFIG,
    pipeline_class=st.none() | texts,
    model_id=texts,
    num_inference_steps=st.none() | st.integers() | st.integers(1, 4300).map(lambda digits: 10**digits - 1),
    methods=st.lists(st.sampled_from(["tome", "tgate", "torch_compile"]) | texts, max_size=4),
)
some_generate = some(
    GENERATE,
    device_s=st.sampled_from([1e-9, 5e-324, 1e-5, 1]),
    denoiser_calls=counts,
    peak_memory_bytes=counts,
    alloc_retries=counts,
)
some_profile = st.just("null") | some(
    PROFILE,
    gpu_s=st.floats(0, 1e9),
    launches=st.integers(0, 2**60 - 1),
    top_kernels=st.lists(st.tuples(texts, shares), max_size=5),
)


def answer(fields: st.SearchStrategy[str], payload: bytes = b"") -> st.SearchStrategy[Answer]:
    """Mostly a header with these fields and the nonce; else any JSON, an error, or an answer that stays away."""
    good, other = fields.map(with_nonce), json_texts.map(str)  # mapped, for one_of takes another one_of apart
    errors = st.sampled_from(["out_of_memory", "no_pipeline", "bad_images", "exception"]).map(json.dumps) | json_texts
    error = fields_of({"error": errors, "message": texts.map(json.dumps), "traceback": json_texts}).map(with_nonce)
    payloads = st.integers(0, 9).map(lambda number: payload + bytes(number) if number > 8 else payload)
    closes = st.integers(0, 7).map(lambda number: number < 7)
    return st.builds(Answer, good | good | good | good | good | good | error | other, payloads, closes)


answers = st.builds(
    Answers,
    config=answer(some_config.map(lambda fields: f'{{"config":{fields}}}')),
    generate=answer(some_generate, PIXELS),
    profile=answer(some_profile.map(lambda fields: f'{{"profile":{fields}}}')),
    load=st.just(HONEST_LOAD) | st.just(HONEST_LOAD) | answer(st.just("{}")),
    code=st.integers(-70, 300),
)


def framed(data: bytes) -> bytes:
    """A coverage-guided fuzzer's bytes as frames: as they are, or, where the first is odd, with a prefix that fits."""
    return frame(data[2:], b"", None, data[1]) if len(data) > 1 and data[0] % 2 else data


def _honest(**fields: Any) -> Answer:
    return Answer(with_nonce(json.dumps(fields)))


HONEST = Answers(
    config=_honest(config=CONFIG),
    generate=Answer(with_nonce(json.dumps(GENERATE)), PIXELS),
    profile=_honest(profile=PROFILE),
    load=HONEST_LOAD,
    code=0,
)

# What a coverage-guided fuzzer starts from, and words that it would take long to find.
SEEDS = [
    b"",
    b"{}",
    frame(b'{"nonce":"0"}', b""),
    *(b"\x01\x18" + one.header.encode() for one in (HONEST.config, HONEST.generate, HONEST.profile)),
    b"\x01\x00" + b"[" * 2000,
    b"\x01\x00" + b"9" * 5000,
    "\x1b[2J\x1b]0;title\x07\x9b31m\u202e".encode(),
]
WORDS = ["NaN", "-Infinity", "null", "true", "\\\\ud800", "1e999", "[[", "{}", ":[", "\\xef\\xbb\\xbf", "\\x1b["]
