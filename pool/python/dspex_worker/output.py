"""What user code prints, line by line, with the call that printed it.

The server reads a worker's standard output and error as its log. A line that Python printed during
a call begins with a label, `GS program US request GS` in those control characters, by which the
server knows whose it is. What C code writes past Python's streams has none.

Invariants: a line is written whole, in one piece, whoever prints beside it; what is kept is
bounded; printing never fails and never ends a call.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from typing import Any

from .job import Job, running

_GROUP, _UNIT = "\x1d", "\x1f"
# The server cuts longer lines, and what it cuts off would have lost its label. In characters; no
# label is near as long.
_LONGEST = 1_500
_LONGEST_NAME = 200
# Beginnings of lines that are kept at most. Each is a thread, or a call on the event loop.
_MOST_BEGUN = 1_000
_CONTROL = dict.fromkeys(range(32), "?")


class Lines(io.TextIOWrapper):
    """A text stream over a descriptor that takes part of lines, and gives on whole ones."""

    def __init__(self, fd: int) -> None:
        raw = open(fd, "wb", closefd=False)  # noqa: SIM115  (open as long as the process)
        super().__init__(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        self._fd = fd
        self._begun: dict[tuple[int, Job | None], str] = {}
        self._renew()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        # In a child that user code forks, whoever held the lock may not be there any more. Its own
        # thread may take it again: collecting garbage can print, at any place.
        self._lock = threading.RLock()
        self._begun.clear()

    def write(self, text: str) -> int:
        """Takes text, and writes the lines that it ends."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        call = running.get()
        who = (threading.get_ident(), call)
        with self._lock:
            whole, newline, rest = (self._begun.pop(who, "") + text).rpartition("\n")
            if newline:
                self._put(call, whole.split("\n"))
            if len(rest) > _LONGEST:
                self._put(call, [rest])
            elif rest:
                if len(self._begun) >= _MOST_BEGUN:
                    self._put_all()
                self._begun[who] = rest
        return len(text)

    def flush(self) -> None:
        """Ends the line that this thread has begun, so that no crash can take it along."""
        call = running.get()
        with self._lock, contextlib.suppress(ValueError, OSError):
            begun = self._begun.pop((threading.get_ident(), call), None)
            if begun:
                self._put(call, [begun])
            self.buffer.flush()

    def finish(self) -> None:
        """Ends every line that anybody has begun."""
        with self._lock:
            self._put_all()

    def _put_all(self) -> None:
        while self._begun:
            (_, call), begun = self._begun.popitem()
            self._put(call, [begun])

    def _put(self, call: Job | None, lines: list[str]) -> None:
        label = "" if call is None else _label(call)
        pieces: list[str] = []
        for line in lines:
            if len(line) <= _LONGEST:
                pieces.append(line)
            else:
                starts = range(0, len(line), _LONGEST)
                pieces.extend(line[start : start + _LONGEST] for start in starts)
        text = "".join(f"{label}{piece}\n" for piece in pieces)
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        with contextlib.suppress(OSError):  # nobody reads any more: nothing a program can help
            while data:
                data = data[os.write(self._fd, data) :]


def _label(call: Job) -> str:
    program, request = (
        str(name)[:_LONGEST_NAME].translate(_CONTROL) for name in (call.key, call.request)
    )
    return f"{_GROUP}{program}{_UNIT}{request}{_GROUP}"


def install() -> None:
    """Puts both streams of the process behind lines."""
    for name in ("stdout", "stderr"):
        given: Any = getattr(sys, name)
        with contextlib.suppress(AttributeError, OSError, ValueError):
            given.flush()
        setattr(sys, name, Lines(1 if name == "stdout" else 2))


def finish() -> None:
    """Writes what was begun, before the process ends."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, Lines):
            stream.finish()
