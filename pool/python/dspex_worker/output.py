"""What user code prints, line by line, with the call that printed it.

The server reads a worker's standard output and error as its log. A line that Python printed during
a call begins with a label, `GS program US request GS` in those control characters, by which the
server knows whose it is. What C code writes past Python's streams has none.

Invariants: a line is written whole, in one piece, whoever prints beside it; what is kept is
bounded, ends with its call, and keeps nothing of the call but its names; printing never fails and
never ends a call.
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
        # By thread and call, with the label.
        self._begun: dict[tuple[int, int | None], tuple[str, str]] = {}
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
        who = (threading.get_ident(), None if call is None else call.id)
        with self._lock:
            label, begun = self._begun.pop(who, None) or (_label(call), "")
            whole, newline, rest = (begun + text).rpartition("\n")
            if newline:
                self._put(label, whole.split("\n"))
            if len(rest) > _LONGEST:
                self._put(label, [rest])
            elif rest:
                if len(self._begun) >= _MOST_BEGUN:
                    self._put_all()
                self._begun[who] = (label, rest)
        return len(text)

    def flush(self) -> None:
        """Ends the line that this thread has begun, so that no crash can take it along."""
        call = running.get()
        with self._lock, contextlib.suppress(ValueError, OSError):
            self._end((threading.get_ident(), None if call is None else call.id))
            self.buffer.flush()

    def end(self, call: Job) -> None:
        """Ends the lines that a call has begun, on whichever thread."""
        if not self._begun:
            return
        with self._lock:
            for who in [who for who in self._begun if who[1] == call.id]:
                self._end(who)

    def finish(self) -> None:
        """Ends every line that anybody has begun."""
        with self._lock:
            self._put_all()

    def _put_all(self) -> None:
        while self._begun:
            self._end(next(iter(self._begun)))

    def _end(self, who: tuple[int, int | None]) -> None:
        begun = self._begun.pop(who, None)
        if begun is not None:
            label, text = begun
            self._put(label, [text])

    def _put(self, label: str, lines: list[str]) -> None:
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


def _label(call: Job | None) -> str:
    if call is None:
        return ""
    program, request = (
        str(name)[:_LONGEST_NAME].translate(_CONTROL) for name in (call.key, call.request)
    )
    return f"{_GROUP}{program}{_UNIT}{request}{_GROUP}"


_installed: list[Lines] = []


def install() -> None:
    """Puts both streams of the process behind lines."""
    _installed.clear()
    for name in ("stdout", "stderr"):
        given: Any = getattr(sys, name)
        with contextlib.suppress(AttributeError, OSError, ValueError):
            given.flush()
        lines = Lines(1 if name == "stdout" else 2)
        setattr(sys, name, lines)
        _installed.append(lines)


def end(call: Job) -> None:
    """Writes what a call has begun and not ended."""
    for lines in _installed:
        lines.end(call)


def finish() -> None:
    """Writes what was begun, before the process ends."""
    for lines in _installed:
        lines.finish()
