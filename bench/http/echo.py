"""The callable that every server serves.

Invariant: what a server is measured by is its own work, so this does none. It says which process
ran it: that tells the benchmark how many processes answer, and which of them to kill.
"""

from __future__ import annotations

import os


def echo(text: str) -> dict[str, str | int]:
    """The text, and the process that was asked."""
    return {"text": text, "pid": os.getpid()}
