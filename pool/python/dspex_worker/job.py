"""One call, from the frame that brought it to its answer, and which call is running here.

Invariant: the running call is a context variable, so it is right on threads, on the event loop and
inside generators alike; code that runs outside every call sees none.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from time import monotonic
from typing import Any

from .chunks import Chunks
from .engine import Program
from .errors import Cancelled
from .pace import Pace

# The outputs and the program's seconds, or the error.
Outcome = tuple[dict[str, Any] | None, float, BaseException | None]


# The bridge protocol names no calls.
_NO_FRAME: dict[str, Any] = {"key": ""}


class Job:
    """One call."""

    # What most calls leave as it is stands here, and is not written for each.
    program: Program | None = None
    chunks: Chunks | None = None  # where the caller wants them
    state: Any = None  # what the session's last call left behind
    left: Any = None  # what this call leaves behind
    usage: dict[str, int] | None = None  # the tokens of its LM calls, where they are known
    started = False  # it holds a slot
    abandoned = False
    task: asyncio.Task[Outcome] | None = None
    timer: asyncio.TimerHandle | None = None
    pace: Pace | None = None  # its program's

    def __init__(
        self,
        call_id: int,
        inputs: dict[str, Any],
        deadline: float | None,
        frame: dict[str, Any] = _NO_FRAME,
    ) -> None:
        self.id = call_id
        self.inputs = inputs
        self.deadline = deadline  # by `time.monotonic`
        self._frame = frame

    @property
    def key(self) -> str:
        """Its program's."""
        key: str = self._frame["key"]
        return key

    @property
    def request(self) -> str:
        """What the caller calls it, in the lines that it prints."""
        return self._frame.get("request") or ""

    @property
    def on_loop(self) -> bool:
        """Whether it runs on the event loop, and not on a thread."""
        program = self.program
        assert program is not None
        return program.is_async or (self.chunks is not None and program.streams)

    def is_late(self) -> bool:
        """Whether its time has passed."""
        return self.deadline is not None and monotonic() > self.deadline

    def check_wanted(self) -> None:
        """Raises `Cancelled` once nobody waits for it any more."""
        if self.abandoned:
            raise Cancelled("the call was abandoned")
        if self.is_late():
            raise Cancelled("the call's time has passed")


running: ContextVar[Job | None] = ContextVar("dspex_worker_job", default=None)


def cancelled() -> bool:
    """Whether the call that runs here was abandoned, or is past its deadline.

    A thread cannot be stopped from outside, so a program that computes for long asks now and then,
    and returns. Always false outside a call, and under the bridge protocol, which has no cancel.
    """
    job = running.get()
    return job is not None and (job.abandoned or job.is_late())
