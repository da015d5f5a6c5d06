"""Runs calls: at most `concurrency` at a time, sync ones on threads, async ones on one event loop.

Invariants: a slot is taken before a call starts and given back after it has really ended; every
call that was submitted is finished exactly once, abandoned or not; calls start in the order in
which they came; a thread is started only when no other is idle, so there are never more than slots;
nobody waits while a slot is free.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic
from typing import Any

from .errors import Cancelled, Failure
from .execution import run, run_async
from .job import Job, Outcome

_TICK = 0.001

Done = Callable[[Job, dict[str, Any] | None, float, BaseException | None], None]


class Scheduler:
    """Slots, the calls that hold them and the calls that wait for one."""

    def __init__(self, concurrency: int, done: Done) -> None:
        self._done = done
        self._lock = threading.Lock()
        # An item for each free slot. Taking one out and putting one in need no lock.
        self._free: list[None] = [None] * concurrency
        self._waiting: deque[Job] = deque()
        self._ready: SimpleQueue[Job] = SimpleQueue()
        self._idle = 0  # threads that wait for a call, and are not promised one
        self._loop: asyncio.AbstractEventLoop | None = None

    def submit(self, job: Job) -> None:
        """Starts the call, or queues it. `job.program` is set."""
        if self.take_slot(job):
            self.start(job)

    def take_slot(self, job: Job) -> bool:
        """Gives the call a slot, or queues it where there is none."""
        if not self._waiting:
            try:
                self._free.pop()
            except IndexError:
                pass
            else:
                job.started = True
                return True
        with self._lock:
            self._waiting.append(job)
        # A slot may have come back before anybody could be seen to wait for it.
        self.serve_waiting()
        return False

    def give_slot_back(self) -> bool:
        """A call has ended that was not started here. Answers whether others may wait."""
        self._free.append(None)
        return bool(self._waiting)

    def serve_waiting(self) -> None:
        """Starts those who wait, as far as there are slots."""
        while (following := self._next()) is not None:
            self.start(following)

    def _next(self) -> Job | None:
        """Who is to have the next free slot."""
        if not self._waiting:
            return None
        with self._lock:
            if not self._waiting:
                return None
            try:
                self._free.pop()
            except IndexError:
                return None
            following = self._waiting.popleft()
            following.started = True
            return following

    def abandon(self, job: Job) -> None:
        """Nobody waits for the call any more.

        It is finished as cancelled once its slot is free; where it holds none, that is now.
        """
        with self._lock:
            if job.abandoned:
                return
            job.abandoned = True
            started, task = job.started, job.task
            if not started and job in self._waiting:
                self._waiting.remove(job)
        if job.chunks is not None:
            job.chunks.close()
        if not started:
            self._done(job, None, 0.0, Cancelled("the call was abandoned before it started"))
        elif task is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(task.cancel)

    def start(self, job: Job) -> None:
        """Starts a call that has a slot."""
        if job.on_loop:
            self._event_loop().call_soon_threadsafe(self._start_task, job)
            return
        with self._lock:
            idle = self._idle > 0
            if idle:
                self._idle -= 1
        if idle:
            self._ready.put(job)
        else:
            # A daemon, so that a call that never ends cannot keep a process alive that must go.
            run = self._run_calls
            thread = threading.Thread(target=run, args=(job,), name="call", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # as many as the limits allow
                self.finish(job, None, 0.0, Failure(f"the call cannot be started: {error}"))

    def finish(
        self, job: Job, outputs: dict[str, Any] | None, seconds: float, error: BaseException | None
    ) -> None:
        """Ends a call that has a slot."""
        try:
            self._answer(job, outputs, seconds, error)
        finally:
            self._free.append(None)
            self.serve_waiting()

    def _answer(
        self, job: Job, outputs: dict[str, Any] | None, seconds: float, error: BaseException | None
    ) -> None:
        # Before the slot is given on, so that at a concurrency of one, answers come in order.
        if job.abandoned:
            outputs, error = None, Cancelled("the call was abandoned")
        self._done(job, outputs, seconds, error)

    def _not_to_run(self, job: Job) -> BaseException | None:
        if job.abandoned:
            return Cancelled("the call was abandoned before it started")
        if job.is_late():
            return Cancelled("the call's time had passed before it could start")
        return None

    def _run_calls(self, job: Job) -> None:
        take = self._ready.get
        while True:
            error = self._not_to_run(job)
            outcome = run(job) if error is None else (None, 0.0, error)
            try:
                self._answer(job, *outcome)
            finally:
                # Idle before its slot is free: whoever takes the slot finds a thread.
                with self._lock:
                    self._idle += 1
                self._free.append(None)
                self.serve_waiting()
            # What the call held is not kept alive while this thread waits for the next.
            del job, error, outcome
            job = take()

    def _event_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                run = self._loop.run_forever
                threading.Thread(target=run, name="event-loop", daemon=True).start()
            return self._loop

    def _start_task(self, job: Job) -> None:
        error = self._not_to_run(job)
        if error is not None:
            self.finish(job, None, 0.0, error)
            return
        task = asyncio.ensure_future(run_async(job))
        # Not inside the coroutine: a task that is cancelled before its first step runs nothing.
        task.add_done_callback(lambda ended: self._end_task(job, ended))
        if job.deadline is not None and self._loop is not None:
            # A thread cannot be cancelled, so a sync call keeps its slot past its deadline. A task
            # can, and is, whether the server's own cancel comes or not. A loop's timers may fire a
            # clock tick early, which must not look as if the program had cancelled itself.
            left = job.deadline - monotonic() + _TICK
            job.timer = self._loop.call_later(left, task.cancel)
        with self._lock:
            job.task = task
            abandoned = job.abandoned
        if abandoned:
            task.cancel()

    def _end_task(self, job: Job, task: asyncio.Task[Outcome]) -> None:
        if job.timer is not None:
            job.timer.cancel()
        if task.cancelled():
            error: BaseException = asyncio.CancelledError("the program cancelled itself")
            if job.is_late():
                error = Cancelled("the call's time has passed")
            self.finish(job, None, 0.0, error)
        else:
            self.finish(job, *task.result())
