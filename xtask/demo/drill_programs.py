"""Programs of the drills beside the demo's: a side effect, a state, and what they run on.

`order` must not run twice for one call: it leaves a line for each run in the file that DRILL_ORDERS
names, and the drill counts them. `Tally` counts the calls of its session, so that a session whose
state was lost, or saved twice, says so in its next answer. `engine` tells which DSPy answers, so
that a drill can see whose environment a call has come to.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from faults import misbehave

WORK_SECONDS = 0.010


def order(key: str) -> dict[str, str]:
    """Takes an order: the file gets a line, as a till prints a receipt."""
    path = os.environ.get("DRILL_ORDERS")
    if path:
        # One write of few bytes to the end of a file: no other process's comes between.
        with Path(path).open("ab", buffering=0) as file:
            file.write(f"{key}\n".encode())
    time.sleep(WORK_SECONDS)
    return {"key": key}


def engine() -> dict[str, str]:
    """The DSPy that this worker runs on, and the environment that it is from."""
    # Here and not above: where only callables are served there is none.
    import dspy

    return {"dspy": str(dspy.__version__), "environment": sys.prefix}


class Tally:
    """Counts its session's calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, int]:
        """One more."""
        misbehave()
        self.calls += 1
        time.sleep(WORK_SECONDS)
        return {"calls": self.calls}

    def dump_state(self) -> int:
        """What is kept until the session's next call."""
        return self.calls

    def load_state(self, state: int) -> None:
        """Goes on from there."""
        self.calls = state
