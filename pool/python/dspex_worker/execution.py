"""How one call is run: on a thread or on the event loop, with chunks, with a session's state.

Invariants: a generator is closed however its call ends, and is not resumed once nobody waits for
it; outputs are the same whether the chunks were asked for or not; a call of a stateful program has
an instance of its own, and leaves a state behind only where it succeeded; a line that a call began
to print ends with it.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from time import perf_counter
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from . import output
from .engine import Instance, Program
from .errors import BadOutput
from .job import Job, Outcome, running


def run(job: Job) -> Outcome:
    """Runs a call on this thread. Answers errors, SystemExit too, and raises none."""
    running.set(job)
    try:
        return run_as_it_is(job)
    finally:
        # A thread lives on after its call, and what it holds would with it.
        running.set(None)


def run_as_it_is(job: Job) -> Outcome:
    """The same where the call is said to be the one that runs here, by whoever calls this."""
    program = job.program
    assert program is not None
    began = perf_counter()
    try:
        program.check(job.inputs)
        if not program.stateful:
            result = program.call(job.inputs)
            if type(result) is GeneratorType:
                result = drain(result, job)
        else:
            with program.session(job.state) as instance:
                result = instance.call(job.inputs)
                if type(result) is GeneratorType:
                    result = drain(result, job)
                job.left = instance.dump_state()
        return program.outputs(result), perf_counter() - began, None
    except BaseException as error:
        return None, perf_counter() - began, error
    finally:
        output.end(job)


async def run_async(job: Job) -> Outcome:
    """Runs a call on the event loop. Raises only `asyncio.CancelledError`."""
    program = job.program
    assert program is not None
    running.set(job)
    try:
        program.check(job.inputs)
        began = perf_counter()
        if not program.stateful:
            result = await _result(program, job)
        else:
            with program.session(job.state) as instance:
                result = await _result(instance, job)
                job.left = instance.dump_state()
        return program.outputs(result), perf_counter() - began, None
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # asyncio would let SystemExit end the loop of all calls
        return None, 0.0, error
    finally:
        output.end(job)


async def _result(instance: Program | Instance, job: Job) -> Any:
    if job.chunks is not None and instance.streams:
        return await instance.stream(job.inputs, job.chunks.send_async)
    result = instance.call(job.inputs)
    if type(result) is AsyncGeneratorType:
        return await drain_async(result, job)
    return await result


def drain(generator: Any, job: Job) -> Any:
    """Runs a generator to its end: what it returned, else its chunks put together."""
    collected = _Collected(job)
    try:
        while True:
            try:
                chunk = next(generator)
            except StopIteration as end:
                return collected.together() if end.value is None else end.value
            job.check_wanted()
            if job.chunks is not None:
                job.chunks.send(chunk, job.deadline)
            collected.add(chunk)
    finally:
        generator.close()


async def drain_async(generator: Any, job: Job) -> Any:
    """The same for an async generator, which cannot return anything."""
    collected = _Collected(job)
    async with aclosing(generator):
        async for chunk in generator:
            if job.chunks is not None:
                await job.chunks.send_async(chunk)
            collected.add(chunk)
    return collected.together()


class _Collected:
    """What a generator yielded, for the outputs of one that returns nothing.

    A long stream is not kept once it is too long to be sent again in one frame.
    """

    def __init__(self, job: Job) -> None:
        self._sent = job.chunks
        self._chunks: list[Any] = []

    def add(self, chunk: Any) -> None:
        if self._sent is None or not self._sent.fill_a_frame:
            self._chunks.append(chunk)
        else:
            self._chunks.clear()

    def together(self) -> dict[str, Any]:
        """Text is joined; anything else is a list. Under `result`, even where a chunk is a dict."""
        if self._sent is not None and self._sent.fill_a_frame:
            raise BadOutput(
                "the chunks together are too large for one answer: let the generator return "
                "the outputs, which may be short"
            )
        chunks = self._chunks
        if chunks and all(isinstance(chunk, str) for chunk in chunks):
            return {"result": "".join(chunks)}
        return {"result": chunks}
