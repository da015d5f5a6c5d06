"""The chunks of one call, on their way to the server: no more than its reader has room for.

Invariants: a chunk is sent only while there is credit; whoever waits for credit is woken when it
comes, when the call is given up, and when its time has passed; nothing is sent after that.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from .errors import Cancelled


class Chunks:
    """A window of chunks.

    `write` sends one, and answers its size in bytes; it may raise `BadOutput`. `limit` is the
    longest frame.
    """

    def __init__(self, window: int, write: Callable[[Any], int], limit: int) -> None:
        self._write = write
        self._room = limit
        self._credit = window
        self._closed = False
        self._changed = threading.Condition()
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None

    @property
    def fill_a_frame(self) -> bool:
        """Whether what was sent so far is more than one frame may hold."""
        return self._room < 0

    def grant(self, count: int) -> None:
        """The reader has taken so many."""
        with self._changed:
            self._credit += count
            self._wake()

    def close(self) -> None:
        """The call was given up."""
        with self._changed:
            self._closed = True
            self._wake()

    def send(self, chunk: Any, deadline: float | None) -> None:
        """Sends a chunk from a thread, and waits for credit. Raises `Cancelled`."""
        with self._changed:
            while not self._take():
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    raise Cancelled("the call's time passed while its reader took no chunks")
                self._changed.wait(left)
        self._room -= self._write(chunk)

    async def send_async(self, chunk: Any) -> None:
        """Sends a chunk from the event loop. Its task is cancelled when its time has passed."""
        while True:
            with self._changed:
                if self._take():
                    break
                loop = asyncio.get_running_loop()
                came = loop.create_future()
                self._waiter = (loop, came)
            await came
        self._room -= self._write(chunk)

    def _take(self) -> bool:
        if self._closed:
            raise Cancelled("the call was abandoned")
        if not self._credit:
            return False
        self._credit -= 1
        return True

    def _wake(self) -> None:
        self._changed.notify_all()
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            loop, came = waiter
            loop.call_soon_threadsafe(_resolve, came)


def _resolve(came: asyncio.Future[None]) -> None:
    if not came.done():
        came.set_result(None)
