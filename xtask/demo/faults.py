"""Faults on purpose: what a broken candidate does.

DEMO_FAULT="crash=0.2,stall=0.1" in a worker's environment makes that share of the calls that come
by here go wrong. DRILL_FAULT_FILE names a file with the same text instead, which is read again when
it changes: so a drill breaks a candidate that was well, and knows when. The moment at which the
first fault struck is left beside it, in a file whose name ends in `.first`.

crash     the worker ends
stall     the worker's process stops, as under a debugger: no thread of it answers any more
raise     the program raises an exception
slow      the program takes 300 ms longer
leak      2 MiB are never given back
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import signal
import time
from pathlib import Path

KINDS = ("crash", "stall", "raise", "slow", "leak")
SLOW_SECONDS = 0.3
LEAK_BYTES = 2 << 20

_kept: list[bytearray] = []


class InjectedFault(Exception):
    """What a program raises that a drill has broken."""


def parse(text: str) -> dict[str, float]:
    """Shares by kind."""
    faults = {}
    for fault in filter(None, text.strip().split(",")):
        kind, _, share = fault.partition("=")
        if kind not in KINDS:
            raise ValueError(f"there is no fault {kind!r}; there are {', '.join(KINDS)}")
        faults[kind] = float(share)
    return faults


class FaultFile:
    """Faults by their file, which is read when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = (0, 0)
        self._faults: dict[str, float] = {}

    def read(self) -> dict[str, float]:
        """Shares by kind; none where there is no file."""
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._faults = parse(self._path.read_text(encoding="utf-8"))
                self._stamp = stamp
        except FileNotFoundError:
            return {}
        return self._faults

    def note_first(self) -> None:
        """Leaves the moment of the first fault, once."""
        note = self._path.with_suffix(".first")
        with contextlib.suppress(FileExistsError), note.open("x", encoding="utf-8") as file:
            file.write(f"{time.time():.6f}\n")


@functools.cache
def _file(path: str) -> FaultFile:
    return FaultFile(Path(path))


def misbehave() -> None:
    """Does to this worker what it is told to."""
    path = os.environ.get("DRILL_FAULT_FILE", "")
    faults = _file(path).read() if path else parse(os.environ.get("DEMO_FAULT", ""))
    for kind, share in faults.items():
        if random.random() < share:  # noqa: S311  (a fault, not a secret)
            if path:
                _file(path).note_first()
            _strike(kind)


def _strike(kind: str) -> None:
    if kind == "crash":
        os._exit(70)
    elif kind == "stall":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif kind == "raise":
        raise InjectedFault("a drill broke this program on purpose")
    elif kind == "slow":
        time.sleep(SLOW_SECONDS)
    elif kind == "leak":
        _kept.append(bytearray(os.urandom(1) * LEAK_BYTES))
