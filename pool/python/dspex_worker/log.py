"""Lines for the log: standard error, one short line each."""

from __future__ import annotations

import contextlib
import sys


def prepare() -> None:
    """Makes lines appear when they are written, so that a crash takes none with it."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True, errors="backslashreplace")


def log(line: str) -> None:
    """Writes one line, and never fails."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"dspex_worker: {line}\n")
        sys.stderr.flush()
