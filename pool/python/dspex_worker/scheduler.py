"""Runs calls: at most `concurrency` at a time, sync ones on threads, async ones on one event loop.

Invariants: a slot is taken before a call starts and given back after it has really ended; every
call that was submitted is finished exactly once, abandoned or not; calls start in the order in
which they came.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic, perf_counter
from typing import Any

from .engine import Program
from .errors import Cancelled
from .output import calling


class Job:
    """One call, from the frame that brought it to its answer."""

    __slots__ = (
        "abandoned",
        "deadline",
        "id",
        "inputs",
        "key",
        "program",
        "request",
        "started",
        "task",
    )

    def __init__(self, call_id: int, inputs: dict[str, Any], deadline: float | None) -> None:
        self.id = call_id
        self.key = self.request = ""  # for the lines that it prints
        self.inputs = inputs
        self.deadline = deadline
        self.program: Program | None = None
        self.started = False  # it holds a slot
        self.abandoned = False
        self.task: asyncio.Task[Outcome] | None = None


# The outputs and the program's seconds, or the error.
Outcome = tuple[dict[str, Any] | None, float, BaseException | None]
Done = Callable[[Job, dict[str, Any] | None, float, BaseException | None], None]


class Scheduler:
    """Slots, the calls that hold them and the calls that wait for one."""

    def __init__(self, concurrency: int, done: Done) -> None:
        self._done = done
        self._lock = threading.Lock()
        self._free = concurrency
        self._waiting: deque[Job] = deque()
        self._ready: SimpleQueue[Job] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        for number in range(concurrency):
            name = f"call-{number}"
            # Daemons, so that a call that never ends cannot keep a process alive that must go.
            threading.Thread(target=self._run_calls, name=name, daemon=True).start()

    def submit(self, job: Job) -> None:
        """Starts the call, or queues it. `job.program` is set."""
        with self._lock:
            if not self._free:
                self._waiting.append(job)
                return
            self._free -= 1
            job.started = True
        self._start(job)

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
        if not started:
            self._done(job, None, 0.0, Cancelled("the call was abandoned before it started"))
        elif task is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(task.cancel)

    def _start(self, job: Job) -> None:
        if job.program is not None and job.program.is_async:
            self._event_loop().call_soon_threadsafe(self._start_task, job)
        else:
            self._ready.put(job)

    def _finish(
        self, job: Job, outputs: dict[str, Any] | None, seconds: float, error: BaseException | None
    ) -> None:
        if job.abandoned:
            outputs, error = None, Cancelled("the call was abandoned")
        try:
            # Before the slot is given on, so that at a concurrency of one, answers come in order.
            self._done(job, outputs, seconds, error)
        finally:
            with self._lock:
                following = self._waiting.popleft() if self._waiting else None
                if following is None:
                    self._free += 1
                else:
                    following.started = True
            if following is not None:
                self._start(following)

    def _not_to_run(self, job: Job) -> BaseException | None:
        if job.abandoned:
            return Cancelled("the call was abandoned before it started")
        if job.deadline is not None and monotonic() > job.deadline:
            return Cancelled("the call's time had passed before it could start")
        return None

    def _run_calls(self) -> None:
        take = self._ready.get
        while True:
            job = take()
            outputs, seconds = None, 0.0
            error = self._not_to_run(job)
            if error is None:
                program = job.program
                assert program is not None
                calling.set(job)
                try:
                    program.check(job.inputs)
                    began = perf_counter()
                    result = program.call(job.inputs)
                    seconds = perf_counter() - began
                    outputs = program.outputs(result)
                except BaseException as raised:  # SystemExit too ends the call, not the thread
                    error = raised
            calling.set(None)
            self._finish(job, outputs, seconds, error)
            # What the call held is not kept alive while this thread waits for the next.
            del job, outputs, error
            result = None

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
            self._finish(job, None, 0.0, error)
            return
        task = asyncio.ensure_future(_run_async(job))
        # Not inside the coroutine: a task that is cancelled before its first step runs nothing.
        task.add_done_callback(lambda ended: self._end_task(job, ended))
        with self._lock:
            job.task = task
            abandoned = job.abandoned
        if abandoned:
            task.cancel()

    def _end_task(self, job: Job, task: asyncio.Task[Outcome]) -> None:
        if task.cancelled():
            error = asyncio.CancelledError("the program cancelled itself")
            self._finish(job, None, 0.0, error)
        else:
            self._finish(job, *task.result())


async def _run_async(job: Job) -> Outcome:
    program = job.program
    assert program is not None
    calling.set(job)
    try:
        program.check(job.inputs)
        began = perf_counter()
        result = await program.call(job.inputs)
        seconds = perf_counter() - began
        return program.outputs(result), seconds, None
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # asyncio would let SystemExit end the loop of all calls
        return None, 0.0, error
