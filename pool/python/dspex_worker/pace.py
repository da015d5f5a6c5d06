"""How long a program's calls take, and whether they may run on the thread that reads the wire.

A hand-over to another thread costs more than a short call does. Invariant: a program is quick only
after it was seen to be, and each call that held the reading up makes that longer to earn.
"""

from __future__ import annotations

# Well over the cost of a hand-over between threads, and nothing that a ping would notice.
SHORT = 200e-6
_FIRST = 3  # calls that are looked at before any is trusted
_AFTER = 64  # the same after a call that held the reading up, four times as many each time
_MOST_SHIFT = 10
_SMOOTHING = 1 / 16
# One call that the system had interrupted says little: this is the most that it counts.
_MOST = 5 * SHORT


class Pace:
    """The pace of one program. Several threads may note calls; a lost one does no harm."""

    __slots__ = ("_average", "_held_up", "_unproven", "quick")

    def __init__(self) -> None:
        self.quick = False
        self._average: float | None = None
        self._unproven = _FIRST
        self._held_up = 0

    def note(self, seconds: float) -> None:
        """A call took so long. Short calls need not be noted while the program is quick."""
        seconds = min(seconds, _MOST)
        average = seconds if self._average is None else self._average
        average += (seconds - average) * _SMOOTHING
        self._average = average
        self._unproven -= 1
        self.quick = average < SHORT and self._unproven <= 0

    def held_up(self, seconds: float) -> None:
        """A call took so long that the reading was handed on meanwhile."""
        self._unproven = _AFTER << min(2 * self._held_up, _MOST_SHIFT)
        self._held_up += 1
        self.note(seconds)
