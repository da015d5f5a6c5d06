"""Harmless callables, for calls that nobody waits for: probes of a worker, rehearsals of a pool.

Invariants: nothing here reads or writes anything outside the call, and none of it takes longer
than a second, so that a caller who reaches it gains nothing. The module is on the list of allowed
modules only where dspex itself calls it.
"""

from __future__ import annotations

import time
from typing import Any

# The longest that a call of this module takes by itself, in seconds.
LIMIT = 1.0


def echo(value: Any) -> dict[str, Any]:
    """What it was given."""
    return {"value": value}


def add(a: int, b: int) -> dict[str, int]:
    """The sum, of two inputs that are checked."""
    return {"sum": a + b}


def sleep(seconds: float) -> dict[str, float]:
    """Waits, for `LIMIT` at most, and says how long it was to wait."""
    seconds = min(max(0.0, seconds), LIMIT)
    time.sleep(seconds)
    return {"slept": seconds}


def burn(seconds: float) -> dict[str, float]:
    """Computes, for `LIMIT` at most, and says how long it was to compute."""
    seconds = min(max(0.0, seconds), LIMIT)
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    return {"burnt": seconds}


def fail(reason: str) -> dict[str, str]:
    """Raises, as a program may."""
    raise ValueError(reason)


class Count:
    """Counts its session's turns, and adds up what they gave it."""

    def __init__(self) -> None:
        self._turns = 0
        self._total = 0

    def __call__(self, add: int) -> dict[str, int]:
        self._turns += 1
        self._total += add
        return self.dump_state()

    def dump_state(self) -> dict[str, int]:
        """The whole state."""
        return {"turns": self._turns, "total": self._total}

    def load_state(self, state: dict[str, int]) -> None:
        """Goes on from there."""
        self._turns = state["turns"]
        self._total = state["total"]
