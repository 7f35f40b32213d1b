"""Frames: what is written is read, and nothing that the other side writes does harm."""

import json
import os
import struct
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.protocol import MAX_HEADER_BYTES, PREFIX, Channel, ChannelClosed, ProtocolError


@pytest.fixture
def ends():
    """Two channels that talk to each other."""
    a_out, b_in = os.pipe()
    b_out, a_in = os.pipe()
    a, b = Channel(a_out, a_in), Channel(b_out, b_in)
    yield a, b
    a.close()
    b.close()


def soon(seconds: float = 2.0) -> float:
    return time.perf_counter() + seconds


def test_a_frame_arrives_as_it_was_sent(ends):
    a, b = ends
    a.send({"op": "load", "text": "ünï"}, b"\x00\xff")
    header, payload = b.receive(max_payload=2, deadline=soon())
    assert header == {"op": "load", "text": "ünï"}
    assert bytes(payload) == b"\x00\xff"


def test_a_payload_larger_than_the_pipe_arrives_whole(ends):
    a, b = ends
    data = os.urandom(5_000_000)
    writer = threading.Thread(target=a.send, args=({}, data))
    writer.start()
    _, payload = b.receive(max_payload=len(data), deadline=soon(20))
    writer.join()
    assert payload == data


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (PREFIX.pack(MAX_HEADER_BYTES + 1, 0), "header of"),
        (PREFIX.pack(2, 11) + b"{}", "payload of"),
        (PREFIX.pack(2, 2**64 - 1) + b"{}", "payload of"),
        (PREFIX.pack(4, 0) + b"nope", "no JSON"),
        (PREFIX.pack(2, 0) + b"[]", "no JSON object"),
        (PREFIX.pack(2, 0) + b"\xff\xfe", "no JSON"),
        (PREFIX.pack(200_000, 0) + b"[" * 200_000, "no JSON"),
    ],
)
def test_what_is_no_frame_is_refused(ends, raw, message):
    a, b = ends
    writer = threading.Thread(
        target=lambda: [os.write(a.write_fd, raw[i : i + 4096]) for i in range(0, len(raw), 4096)]
    )
    os.set_blocking(a.write_fd, True)
    writer.start()
    with pytest.raises(ProtocolError, match=message):
        b.receive(max_payload=10, deadline=soon())
    writer.join()


def test_a_truncated_frame_is_a_closed_channel(ends):
    a, b = ends
    os.write(a.write_fd, PREFIX.pack(100, 0) + b'{"half":')
    os.close(a.write_fd)
    a.write_fd = os.open(os.devnull, os.O_WRONLY)
    with pytest.raises(ChannelClosed):
        b.receive(max_payload=0, deadline=soon())


def test_silence_ends_at_the_deadline(ends):
    _, b = ends
    start = time.perf_counter()
    with pytest.raises(TimeoutError):
        b.receive(max_payload=0, deadline=soon(0.2))
    assert 0.15 < time.perf_counter() - start < 1.5


def test_bytes_that_trickle_do_not_extend_the_deadline(ends):
    a, b = ends
    stop = threading.Event()

    def trickle():
        frame = PREFIX.pack(1000, 0) + b" " * 1000
        for byte in frame:
            if stop.wait(0.05):
                return
            os.write(a.write_fd, bytes([byte]))

    writer = threading.Thread(target=trickle)
    writer.start()
    start = time.perf_counter()
    with pytest.raises(TimeoutError):
        b.receive(max_payload=0, deadline=soon(0.4))
    stop.set()
    writer.join()
    assert time.perf_counter() - start < 2


def test_bytes_that_never_end_do_not_extend_the_deadline(ends, monkeypatch):
    a, b = ends
    monkeypatch.setattr("actors.protocol.READ_BYTES", 1)
    a.send({"text": "there before it was asked for"})
    with pytest.raises(TimeoutError):
        b.receive(max_payload=0, deadline=soon(-1))


def test_a_reader_that_never_reads_does_not_hold_the_writer(ends):
    a, _ = ends
    with pytest.raises(TimeoutError):
        a.send({}, bytes(1_000_000), deadline=soon(0.2))


def test_the_end_of_the_process_is_seen_though_the_pipe_stays_open():
    out, inn = os.pipe()
    back, there = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    channel = Channel(out, there, os.pidfd_open(process.pid))
    with pytest.raises(ChannelClosed):
        channel.receive(max_payload=0, deadline=soon(20))
    process.wait()
    channel.close()
    os.close(inn)
    os.close(back)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=10), json_values, max_size=5), st.binary(max_size=2000))
def test_any_header_and_payload_make_the_round_trip(header, payload):
    out, inn = os.pipe()
    channel = Channel(out, inn)
    channel.send(header, payload)
    assert channel.receive(max_payload=2000, deadline=soon()) == (header, bytearray(payload))
    channel.close()


@given(st.binary(max_size=4000))
def test_any_bytes_are_a_frame_or_the_protocols_own_error(raw):
    out, inn = os.pipe()
    os.write(inn, raw)
    os.close(inn)
    channel = Channel(out, os.open(os.devnull, os.O_WRONLY))
    try:
        header, payload = channel.receive(max_payload=1000, deadline=soon())
        header_size, payload_size = struct.unpack(">IQ", raw[:12])
        assert header == json.loads(raw[12 : 12 + header_size])
        assert payload == raw[12 + header_size : 12 + header_size + payload_size]
    except (ProtocolError, ChannelClosed):
        pass
    channel.close()
