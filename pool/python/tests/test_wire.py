"""Frames: what is read, what is refused, and what is never written."""

from __future__ import annotations

import contextlib
import enum
import json
import os
import threading
import uuid

import pytest

from dspex_worker import wire
from dspex_worker.errors import BadOutput
from dspex_worker.wire import FrameError, Wire, encode


@pytest.fixture(params=["orjson", "standard library"], autouse=True)
def json_library(request, monkeypatch):
    """Everything here must hold whichever library does the work."""
    if request.param == "standard library":
        monkeypatch.setattr(wire, "orjson", None)
    elif wire.orjson is None:
        pytest.skip("orjson is not installed")


@pytest.fixture
def pipe():
    read_fd, write_fd = os.pipe()
    yield read_fd, write_fd
    for fd in (read_fd, write_fd):
        with contextlib.suppress(OSError):
            os.close(fd)


def frames_of(data: bytes, max_frame: int = 1 << 20, step: int | None = None) -> list[dict]:
    read_fd, write_fd = os.pipe()

    def write() -> None:
        for start in range(0, len(data), step or len(data) or 1):
            os.write(write_fd, data[start : start + (step or len(data))])
        os.close(write_fd)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        return list(Wire(read_fd, read_fd, max_frame).frames())
    finally:
        # Read to the end, so that a writer of more than the pipe holds can finish.
        while os.read(read_fd, 1 << 16):
            pass
        writer.join(10)
        os.close(read_fd)


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def test_frames_are_found_wherever_the_stream_is_cut():
    sent = [{"n": 1}, {"text": "ü" * 50}, {}, {"n": [1, {"deep": None}]}]
    data = b"".join(framed(json.dumps(one).encode()) for one in sent)
    for step in (1, 2, 3, 5, 7, 64, len(data)):
        assert frames_of(data, step=step) == sent, f"cut every {step} bytes"


@pytest.mark.parametrize("size", [65_530, 65_536, 70_000, 3_000_000])
def test_frames_longer_than_a_read_arrive_whole(size):
    sent = [{"a": 1}, {"text": "x" * size}, {"b": 2}]
    data = b"".join(framed(json.dumps(one).encode()) for one in sent)
    assert frames_of(data, max_frame=size + 100) == sent


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (framed(b"junk"), "not JSON"),
        (framed(b""), "not JSON"),
        (framed(b"[1]"), "not an object"),
        (framed(b'{"a": NaN}'), "not JSON"),
        (framed(b'{"a": Infinity}'), "not JSON"),
        (framed(b'{"a": "\xff"}'), "not JSON"),
        (framed(b"[" * 100_000), "not JSON"),
        (b"\xff\xff\xff\xff", "over the maximum"),
        (framed(b"{}")[:5], "ended"),
        (b"\x00\x00", "ended"),
        ((100_000).to_bytes(4, "big") + b"{" * 80_000, "ended"),
    ],
)
def test_what_is_no_frame_is_refused(data, said):
    with pytest.raises(FrameError, match=said):
        frames_of(data)


def test_the_maximum_is_the_longest_frame():
    body = b'{"a": 1}'
    assert frames_of(framed(body), max_frame=len(body)) == [{"a": 1}]
    with pytest.raises(FrameError, match="over the maximum of 7"):
        frames_of(framed(body), max_frame=len(body) - 1)


def test_frames_of_many_threads_do_not_mix(pipe):
    read_fd, write_fd = pipe
    sender = Wire(write_fd, write_fd, 1 << 20)
    received: list[dict] = []

    def read() -> None:
        received.extend(Wire(read_fd, read_fd, 1 << 20).frames())

    def send(number: int) -> None:
        for turn in range(20):
            sender.send(json.dumps({"n": number, "turn": turn, "x": "y" * 30_000}).encode())

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join(30)
    os.close(write_fd)
    reader.join(30)
    assert sorted((one["n"], one["turn"]) for one in received) == [
        (number, turn) for number in range(4) for turn in range(20)
    ]


def test_the_descriptor_is_not_handed_to_children(pipe):
    os.set_inheritable(pipe[0], True)
    Wire(pipe[0], pipe[0], 100)
    assert not os.get_inheritable(pipe[0])


class Colour(enum.Enum):
    RED = "red"


WHOLE = uuid.UUID("12345678123456781234567812345678")


@pytest.mark.parametrize(
    "outputs",
    [
        {},
        {"a": 1, "b": 2.5, "c": "ü\n\x00", "d": None, "e": True},
        {"nested": {"list": [1, [2, {"x": None}]]}},
        {"big": 2**64 - 1, "small": -(2**63)},
        {"many": [{"n": n} for n in range(500)]},
    ],
)
def test_json_is_written_as_it_is(outputs):
    assert json.loads(encode({"outputs": outputs}, outputs)) == {"outputs": outputs}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ((1, 2), [1, 2]),
        (Colour.RED, "red"),
        (WHOLE, str(WHOLE)),
        ({1: "a"}, {"1": "a"}),
        ([Colour.RED, None], ["red", None]),
    ],
)
def test_what_is_nearly_json_is_written_the_same_by_both_libraries(value, written):
    outputs = {"x": value}
    assert json.loads(encode({"outputs": outputs}, outputs)) == {"outputs": {"x": written}}


def deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "float nan"),
        ([1, {"x": float("inf")}], "float inf"),
        (object(), "type object"),
        (b"bytes", "type bytes"),
        ({1, 2}, "type set"),
        (2**64, "beyond 64 bits"),
        ([-(2**63) - 1], "beyond 64 bits"),
        ("\ud800", "lone surrogate"),
        ({"\ud800": 1}, "lone surrogate"),
        ({(1, 2): 1}, "dict key of type tuple"),
        (deep(wire.MAX_DEPTH + 1), "nested deeper"),
        (deep(5_000), "nested deeper"),
        (complex(1), "type complex"),
    ],
)
def test_what_is_not_json_is_refused_and_named(value, said):
    outputs = {"fine": 1, "bad": value}
    with pytest.raises(BadOutput, match=f"output 'bad' .*{said}"):
        encode({"outputs": outputs}, outputs)


def test_nesting_up_to_the_limit_is_written():
    outputs = {"x": deep(wire.MAX_DEPTH)}
    assert json.loads(encode({"outputs": outputs}, outputs)) == {"outputs": outputs}


def test_a_name_that_is_no_text_is_refused():
    with pytest.raises(BadOutput, match="output name 1 is of type int"):
        encode({"outputs": {1: "a"}}, {1: "a"})


def test_the_maximum_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("DSPEX_MAX_FRAME", "1000")
    assert wire.max_frame_from_env() == 1000
    monkeypatch.delenv("DSPEX_MAX_FRAME")
    assert wire.max_frame_from_env() == 64 * 1024 * 1024
    for wrong in ("0", "-1", "64MiB", "5000000000"):
        monkeypatch.setenv("DSPEX_MAX_FRAME", wrong)
        with pytest.raises(FrameError, match="DSPEX_MAX_FRAME"):
            wire.max_frame_from_env()
