"""Who reads the wire, and what happens when a call holds the reading up.

One thread at a time has the role of the reader: it takes frames off the wire and handles them, and
runs short calls itself, because a hand-over to another thread costs more than they do. The main
thread watches. Where a call takes long after all, it gives the role to a new thread, which goes on
with the frames that were read already; the call ends on the old one, as on any other.

Invariants: frames are handled one at a time and in order, whoever has the role; answers that were
held are sent before anything is waited for, and none is held for long.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from .execution import run_as_it_is
from .job import Job, Outcome, running
from .wire import Wire

# Twice this after a call began, at the latest, another thread reads on. A ping waits no longer.
TICK = 0.02
# Ticks without a call after which the watch sleeps until there is one.
_QUIET = 4
# How long an answer may be held so that others leave with it, in seconds.
_HOLD = 200e-6


class HandedOn(Exception):
    """Somebody else is the reader by now."""


class Reader:
    """The role, what was read, and what is to be sent."""

    def __init__(self, wire: Wire, handle: Callable[[dict[str, Any]], None]) -> None:
        self._wire = wire
        self._handle = handle
        self.arrived = monotonic()  # when the frame that is handled was read
        # These belong to whoever has the role.
        self._frames: deque[dict[str, Any]] = deque()
        self._held: list[bytes] = []
        self._held_since = 0.0
        # Holds one item while the reader runs a call: whoever takes it out has the role.
        self._role: list[Job] = []
        self._stir = threading.Event()
        self._asleep = False
        self._over = False

    def serve(self, ended: Callable[[BaseException | None], None]) -> None:
        """Reads until the end of the wire, and watches. For the main thread.

        `ended` is called by the last reader, with what ended it where that is an error.
        """
        self._start(ended)
        while not self._over:
            self._watch(ended)

    def run(self, job: Job, late: Callable[[Job, Outcome], None]) -> Outcome:
        """Runs a call on this thread, which is the reader.

        Where it is not the reader any more afterwards, the call is given to `late`, to be ended as
        on any thread, and `HandedOn` is raised.
        """
        role = [job]
        self._role = role
        if self._asleep:
            self._stir.set()
        running.set(job)
        outcome = run_as_it_is(job)
        try:
            role.pop()
        except IndexError:
            late(job, outcome)
            raise HandedOn from None
        return outcome

    def hold(self, body: bytes) -> None:
        """Sends an answer soon, with others. For the reader."""
        held = self._held
        held.append(body)
        if self._frames:  # else it leaves at once
            if len(held) == 1:
                self._held_since = monotonic()
            elif monotonic() - self._held_since > _HOLD:
                self.flush()

    def flush(self) -> None:
        """Sends what is held. For the reader."""
        if self._held:
            # The last call is over, and so is what it holds.
            running.set(None)
            held, self._held = self._held, []
            self._wire.send_all(held)

    def _start(self, ended: Callable[[BaseException | None], None]) -> None:
        # A daemon, so that a call that never ends cannot keep a process alive that must go.
        threading.Thread(target=self._read, args=(ended,), name="reader", daemon=True).start()

    def _read(self, ended: Callable[[BaseException | None], None]) -> None:
        broken: BaseException | None = None
        frames, handle, read = self._frames, self._handle, self._wire.read
        try:
            self.flush()  # what the reader before had no time to send
            while True:
                while frames:
                    handle(frames.popleft())
                self.flush()
                more = read()
                if not more:
                    break
                self.arrived = monotonic()
                frames.extend(more)
        except HandedOn:
            return
        except BaseException as error:
            broken = error
        try:
            ended(broken)
        finally:
            self._over = True
            self._stir.set()

    def _relieve(self, role: list[Job], ended: Callable[[BaseException | None], None]) -> None:
        """Has another thread read on, where the call that holds the reading up still runs."""
        try:
            role.pop()
        except IndexError:
            return
        try:
            self._start(ended)
        except RuntimeError:  # as many threads as the limits allow: then nobody watches any more
            self._read(ended)

    def _watch(self, ended: Callable[[BaseException | None], None]) -> None:
        quiet = 0
        while quiet < _QUIET and not self._over:
            role = self._role
            if self._stir.wait(TICK):
                self._stir.clear()
            elif role is not self._role:
                quiet = 0
            elif not role:
                quiet += 1
            else:
                self._relieve(role, ended)
        self._asleep = True
        # Whoever begins a call now sees that we sleep, or we see the call.
        if not self._role and not self._over:
            self._stir.wait()
        self._asleep = False
        self._stir.clear()
