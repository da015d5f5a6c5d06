"""Runs calls: at most `concurrency` at a time, sync ones on threads, async ones on one event loop.

Invariants: a slot is taken before a call starts and given back after it has really ended; every
call that was submitted is finished exactly once, abandoned or not; calls start in the order in
which they came; a thread is started only when no other is idle, so there are never more than slots.
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
        self._free = concurrency
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
        with self._lock:
            if not self._free:
                self._waiting.append(job)
                return False
            self._free -= 1
            job.started = True
            return True

    def give_slot_back(self) -> Job | None:
        """A call has ended that was not started here. The next has its slot, and is to be started."""
        with self._lock:
            return self._next()

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
        following = self._finish(job, outputs, seconds, error)
        if following is not None:
            self.start(following)

    def _finish(
        self,
        job: Job,
        outputs: dict[str, Any] | None,
        seconds: float,
        error: BaseException | None,
        *,
        idle: bool = False,
    ) -> Job | None:
        """Answers whoever has the slot now. Where nobody has, this thread is idle, if it says so."""
        if job.abandoned:
            outputs, error = None, Cancelled("the call was abandoned")
        following = None
        try:
            # Before the slot is given on, so that at a concurrency of one, answers come in order.
            self._done(job, outputs, seconds, error)
        finally:
            with self._lock:
                following = self._next()
                if idle and (following is None or following.on_loop):
                    self._idle += 1
        return following

    def _next(self) -> Job | None:
        if not self._waiting:
            self._free += 1
            return None
        following = self._waiting.popleft()
        following.started = True
        return following

    def _not_to_run(self, job: Job) -> BaseException | None:
        if job.abandoned:
            return Cancelled("the call was abandoned before it started")
        if job.is_late():
            return Cancelled("the call's time had passed before it could start")
        return None

    def _run_calls(self, first: Job) -> None:
        job: Job | None = first
        del first
        take = self._ready.get
        while True:
            if job is None:
                job = take()
            error = self._not_to_run(job)
            outcome = run(job) if error is None else (None, 0.0, error)
            following = self._finish(job, *outcome, idle=True)
            if following is not None and following.on_loop:
                self.start(following)
                following = None
            # What the call held is not kept alive while this thread waits for the next.
            job = following
            del error, outcome, following

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
            timer = self._loop.call_later(left, task.cancel)
            task.add_done_callback(lambda _ended: timer.cancel())
        with self._lock:
            job.task = task
            abandoned = job.abandoned
        if abandoned:
            task.cancel()

    def _end_task(self, job: Job, task: asyncio.Task[Outcome]) -> None:
        if task.cancelled():
            error: BaseException = asyncio.CancelledError("the program cancelled itself")
            if job.is_late():
                error = Cancelled("the call's time has passed")
            self.finish(job, None, 0.0, error)
        else:
            self.finish(job, *task.result())
