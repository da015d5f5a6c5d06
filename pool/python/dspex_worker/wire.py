"""Frames: a 4-byte big-endian length, then that many bytes of one UTF-8 JSON object.

Invariants: a frame is written whole or not at all, by one thread at a time; what is written is
JSON that every strict reader takes (no NaN, no lone surrogate, no integer beyond 64 bits, no
nesting beyond `MAX_DEPTH`); what is read is an object or an error.
"""

from __future__ import annotations

import contextlib
import enum
import json
import math
import os
import struct
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from .errors import BadOutput

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]

DEFAULT_MAX_FRAME = 64 * 1024 * 1024
# Common JSON readers stop at 128 levels; the frame and the HTTP answer around it take a few.
MAX_DEPTH = 100
_SHORT = 2 * MAX_DEPTH  # in bytes: each level takes two brackets
_CHUNK = 64 * 1024
_HEADER = 4
_LENGTH = struct.Struct(">I")


class FrameError(Exception):
    """The other side broke the protocol; nothing after it can be trusted."""


def max_frame_from_env() -> int:
    """The longest frame in bytes, from `DSPEX_MAX_FRAME`."""
    text = os.environ.get("DSPEX_MAX_FRAME", "")
    if not text:
        return DEFAULT_MAX_FRAME
    if not text.isdigit() or not 0 < int(text) < 2**32:
        raise FrameError(f"DSPEX_MAX_FRAME={text!r} is not a number of bytes")
    return int(text)


class Wire:
    """Frames over one or two file descriptors."""

    def __init__(self, read_fd: int, write_fd: int, max_frame: int) -> None:
        for fd in {read_fd, write_fd}:
            # Processes that user code starts must not hold the wire open, and the descriptor may
            # come from an asynchronous parent.
            os.set_inheritable(fd, False)
            os.set_blocking(fd, True)
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._max_frame = max_frame
        self._rest = b""  # what was read of a frame that is not whole
        self._broken: FrameError | None = None  # what comes after the frames that were whole
        self._lock = threading.Lock()
        # A forked child is no party to this wire: were it to hold it, the parent would never see
        # the end of file.
        os.register_at_fork(after_in_child=self._close)

    def frames(self) -> Iterator[dict[str, Any]]:
        """Reads frames until the end of file. Raises `FrameError`."""
        while frames := self.read():
            yield from frames

    def read(self) -> list[dict[str, Any]]:
        """Waits for frames, and takes all that have come; none at the end of file.

        Raises `FrameError`, after the frames before it were taken.
        """
        if self._broken is not None:
            raise self._broken
        frames: list[dict[str, Any]] = []
        buffer, limit = self._rest, self._max_frame
        loads, length_at = _loads(), _LENGTH.unpack_from
        while not frames:
            chunk = os.read(self._read_fd, _CHUNK)
            if not chunk:
                if buffer:
                    raise FrameError(f"the wire ended {len(buffer)} bytes into a frame")
                break
            if buffer:
                chunk = buffer + chunk
            start, whole = 0, len(chunk)
            try:
                while whole - start >= _HEADER:
                    (length,) = length_at(chunk, start)
                    if length > limit:
                        raise FrameError(
                            f"a frame of {length} bytes is over the maximum of {limit}"
                        )
                    body = start + _HEADER
                    end = body + length
                    if end > whole:
                        if length >= _CHUNK and not frames:
                            frames.append(_object(loads, self._long(chunk[body:], length)))
                            start = whole
                        break
                    frames.append(_object(loads, chunk[body:end]))
                    start = end
            except FrameError as error:
                if not frames:
                    raise
                self._broken = error
            buffer = chunk[start:]
        self._rest = buffer
        return frames

    def send(self, body: bytes) -> None:
        """Writes one frame. Raises `OSError` when the other side is gone."""
        self.send_all([body])

    def send_all(self, bodies: list[bytes]) -> None:
        """Writes several frames at once. Raises `OSError` when the other side is gone."""
        if len(bodies) == 1:
            data = len(bodies[0]).to_bytes(_HEADER, "big") + bodies[0]
        else:
            parts = []
            for body in bodies:
                parts.append(len(body).to_bytes(_HEADER, "big"))
                parts.append(body)
            data = b"".join(parts)
        with self._lock:
            sent = os.write(self._write_fd, data)
            if sent < len(data):
                view = memoryview(data)
                while sent < len(data):
                    sent += os.write(self._write_fd, view[sent:])

    def fits(self, body: bytes) -> bool:
        """Whether the frame is short enough to be sent."""
        return len(body) <= self._max_frame

    @property
    def max_frame(self) -> int:
        """The longest frame in bytes."""
        return self._max_frame

    def _long(self, begun: bytes, length: int) -> bytearray:
        """The rest of a long frame, read in place instead of joined from chunks."""
        body = bytearray(length)
        body[: len(begun)] = begun
        view = memoryview(body)
        got = len(begun)
        while got < length:
            count = os.readv(self._read_fd, [view[got:]])
            if not count:
                raise FrameError(f"the wire ended {got} bytes into a frame of {length}")
            got += count
        return body

    def _close(self) -> None:
        for fd in {self._read_fd, self._write_fd}:
            with contextlib.suppress(OSError):
                os.close(fd)


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


_std_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


def _std_loads(body: bytes | bytearray) -> Any:
    return _std_decode(body.decode("utf-8"))


def _loads() -> Callable[[Any], Any]:
    """How JSON is read: here, so that it may be another for a test."""
    return orjson.loads if orjson else _std_loads


def _object(loads: Callable[[Any], Any], body: bytes | bytearray) -> dict[str, Any]:
    try:
        frame = loads(body)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"a frame of {len(body)} bytes is not JSON: {error}") from None
    if type(frame) is not dict:
        raise FrameError(f"a frame is a JSON {type(frame).__name__}, not an object")
    return frame


def _std_default(value: Any) -> Any:
    # What orjson writes by itself, so that an answer does not depend on what is installed.
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, uuid.UUID):
        return str(value)
    raise TypeError(type(value).__name__)


_std_dumps: Callable[[Any], str] = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_std_default
).encode
_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME if orjson else 0


def encode(frame: dict[str, Any], outputs: dict[str, Any] | None = None) -> bytes:
    """The frame as JSON. `outputs` is the part that came from a program.

    Raises `BadOutput`, naming the field and the type, where that part is not JSON.
    """
    if orjson:
        try:
            body = orjson.dumps(frame, option=_OPTIONS)
        except TypeError:
            pass  # found below, or written by the standard library
        else:
            # orjson writes NaN as null, and nests deeper than readers follow. Neither can be
            # where there is no null and there are few brackets, and looking for those is cheap.
            if outputs is not None and (b"null" in body or len(body) > _SHORT):
                _check_doubtful(body, outputs)
            return body
    if outputs is not None:
        _check(outputs)
    return _std_dumps(frame).encode("utf-8")


def _check_doubtful(body: bytes, outputs: dict[str, Any]) -> None:
    if b"null" in body or body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        _check(outputs)


def encode_chunk(call_id: int, chunk: Any) -> bytes:
    """A chunk's frame. Raises `BadOutput` where the chunk is not JSON."""
    try:
        return encode({"type": "chunk", "id": call_id, "chunk": chunk}, {"chunk": chunk})
    except BadOutput:
        check_json("a chunk of the answer", chunk)
        raise


def check_json(what: str, value: Any) -> None:
    """Raises `BadOutput` where the value cannot be sent as JSON, saying that it is `what`."""
    try:
        _check_value(value, 1)
    except ValueError as error:
        raise BadOutput(f"{what} cannot be sent as JSON: {error}") from None


def _check(outputs: dict[str, Any]) -> None:
    for name, value in outputs.items():
        if not isinstance(name, str):
            raise BadOutput(f"output name {name!r} is of type {type(name).__name__}, not str")
        try:
            _check_text(name)
            _check_value(value, 1)
        except ValueError as error:
            raise BadOutput(f"output {name!r} cannot be sent as JSON: {error}") from None


def _check_value(value: Any, depth: int) -> None:
    if value is None or value is True or value is False:
        return
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, enum.Enum):
        _check_value(value.value, depth)
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise ValueError("it holds an int beyond 64 bits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"it holds the float {value}, which JSON does not have")
    elif isinstance(value, list | tuple | dict):
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            for key in value:
                _check_key(key)
            value = value.values()
        for item in value:
            _check_value(item, depth + 1)
    elif not isinstance(value, uuid.UUID):
        raise ValueError(f"it holds a value of type {_type_name(value)}")


def _check_key(key: Any) -> None:
    if isinstance(key, str):
        _check_text(key)
    elif not isinstance(key, int | float) and key is not None:
        raise ValueError(f"it holds a dict key of type {_type_name(key)}")


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("it holds text that is not valid Unicode (a lone surrogate)") from None


def _type_name(value: Any) -> str:
    cls = type(value)
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )
