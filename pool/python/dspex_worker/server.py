"""The worker protocol: frames in, calls to the scheduler, answers out.

Invariants: whoever reads frames runs short calls at most, and is relieved where one is not short
after all, so a ping is answered while calls run; definitions are built on a thread of their own,
and calls that come behind their definition wait for it; every id is answered exactly once.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import platform
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic
from typing import Any, NoReturn

from . import engine, output
from .chunks import Chunks
from .engine import LmProfile, Settings
from .entry import Entry
from .errors import BadOutput, Failure, UnknownProgram, describe
from .job import Job, Outcome
from .log import log
from .pace import SHORT
from .reader import Reader
from .scheduler import Scheduler
from .wire import FrameError, Wire, check_json, encode, encode_chunk, max_frame_from_env

PROTOCOL = 1


class Server:
    """One worker's side of the worker protocol."""

    def __init__(self, wire: Wire, stop_reading: Callable[[], None]) -> None:
        self._wire = wire
        self._max_frame = wire.max_frame
        self._reader = Reader(wire, self._handle)
        self._stop_reading = stop_reading
        self._settings: Settings | None = None
        self._scheduler: Scheduler | None = None
        self._lock = threading.Lock()  # guards the entries and the jobs
        self._entries: dict[str, Entry] = {}
        self._jobs: dict[int, Job] = {}
        self._builds: SimpleQueue[tuple[int, Entry]] = SimpleQueue()
        self._unsent = 0  # answers owed that no job stands for any more
        self._draining = False
        self._handlers: dict[Any, Callable[[dict[str, Any]], None]] = {
            "call": self._on_call,
            "ping": self._on_ping,
            "credit": self._on_credit,
            "cancel": self._on_cancel,
            "define": self._on_define,
            "forget": self._on_forget,
            "configure": self._on_configure,
            "shutdown": self._on_shutdown,
        }

    def serve(self) -> int:
        """Runs until shutdown; leaves the process at once at the end of the wire."""
        self._send_hello()
        self._reader.serve(self._end)
        return 0

    def _end(self, broken: BaseException | None) -> None:
        if isinstance(broken, FrameError):
            log(f"protocol error: {broken}")
            leave(2)
        if isinstance(broken, OSError):
            log(f"the wire failed: {broken}")
            leave(1)
        if broken is not None:
            log("".join(traceback.format_exception(broken)))
            leave(1)
        if not self._draining:
            leave(0)

    def _handle(self, frame: dict[str, Any]) -> None:
        kind = frame.get("type")
        try:
            if kind == "call":
                entry = self._entries.get(frame["key"])
                if entry is not None and entry.pace.quick and "stream" not in frame:
                    self._on_quick_call(frame, entry)
                    return
            # What is held leaves first: at a concurrency of one, answers come in order.
            self._reader.flush()
            handler = self._handlers.get(kind)
            if handler is None:
                self._on_unknown(frame)
            else:
                handler(frame)
        except (KeyError, TypeError, ValueError) as error:
            raise FrameError(
                f"a {kind} frame is malformed: {type(error).__name__}: {error}"
            ) from error

    def _send_hello(self) -> None:
        self._send(
            {
                "type": "hello",
                "protocol": PROTOCOL,
                "pid": os.getpid(),
                "python": platform.python_version(),
                "engines": {"callable": "1", "dspy": engine.dspy_version()},
                "capabilities": ["cancel", "chunks", "ping", "state", "threads"],
            }
        )

    def _on_configure(self, frame: dict[str, Any]) -> None:
        if self._scheduler is not None:
            raise ValueError("the worker is configured already")
        concurrency = frame.get("concurrency", 1)
        if type(concurrency) is not int or concurrency < 1:
            raise ValueError(f"concurrency {concurrency!r} is not a positive number")
        lms = frame.get("lms") or {}
        self._settings = Settings(
            allow_modules=tuple(frame.get("allow_modules") or ()),
            lms={name: LmProfile.from_json(given) for name, given in lms.items()},
        )
        for name in frame.get("preload") or ():
            try:
                _preload(name)
            except BaseException as error:
                told = f"cannot preload {name}: {type(error).__name__}: {error}"
                log(told)
                fatal = {**describe(error), "class": "worker", "message": told}
                self._send({"type": "fatal", "error": fatal})
                leave(1)
        threading.Thread(target=self._build_all, name="builder", daemon=True).start()
        self._scheduler = Scheduler(concurrency, self._answer)
        if not gc.get_freeze_count():  # a fork server has done it
            gc.collect()
            gc.freeze()  # what was imported stays, and no collection need look at it again
        self._send({"type": "ready"})

    def _on_define(self, frame: dict[str, Any]) -> None:
        frame_id, key, definition = frame["id"], frame["key"], frame["definition"]
        entry = Entry(definition, stateful=frame.get("stateful") is True)
        self._configured()
        with self._lock:
            held = self._entries.get(key)
            if held is not None and held.program is not None and held.same_as(entry):
                entry = None
            else:
                self._entries[key] = entry
                self._unsent += 1
        if entry is None:
            self._send({"type": "result", "id": frame_id})
        else:
            self._builds.put((frame_id, entry))

    def _build_all(self) -> None:
        while True:
            frame_id, entry = self._builds.get()
            settings = self._settings
            assert settings is not None
            program, refused = entry.build(settings)
            with self._lock:
                entry.program, entry.refused = program, refused
                waiting, entry.waiting = entry.waiting, []
            if refused is None:
                self._send({"type": "result", "id": frame_id})
            else:
                self._send({"type": "error", "id": frame_id, "error": describe(refused)})
            for job in waiting:
                self._dispatch(job, entry)
            self._sent()

    def _on_call(self, frame: dict[str, Any]) -> None:
        job = self._job(frame)
        if "state" in frame:
            job.state = frame["state"]
        if frame.get("stream"):
            job.chunks = self._chunks(job.id, frame["window"])
        self._configured()
        entry = self._entries.get(job.key)
        with self._lock:
            self._jobs[job.id] = job
            if entry is not None and entry.program is None and entry.refused is None:
                entry.waiting.append(job)
                return
        if entry is None:
            unknown = UnknownProgram(f"program {job.key!r} is not defined here")
            self._answer(job, None, 0.0, unknown)
        else:
            self._dispatch(job, entry)

    def _on_quick_call(self, frame: dict[str, Any], entry: Entry) -> None:
        """Runs it on this thread, the reader's."""
        scheduler, reader = self._scheduler, self._reader
        assert scheduler is not None
        if self._draining:
            self._configured()
        job = self._job(frame)
        job.program, job.pace = entry.program, entry.pace
        self._jobs[job.id] = job  # only the reader adds any, which needs no lock
        if not scheduler.take_slot(job):
            return
        if job.deadline is not None and monotonic() > job.deadline:
            reader.flush()
            scheduler.start(job)  # which answers that
            return
        outputs, seconds, error = reader.run(job, self._on_late_end)
        if seconds > SHORT:
            entry.pace.note(seconds)
        # Nobody could abandon the call meanwhile, because only the reader is told to.
        reader.hold(self._body(job, outputs, seconds, error))
        del self._jobs[job.id]
        if scheduler.give_slot_back():
            reader.flush()
            scheduler.serve_waiting()

    def _on_late_end(self, job: Job, outcome: Outcome) -> None:
        """A call has ended here that was not quick, and somebody else reads by now."""
        outputs, seconds, error = outcome
        if job.pace is not None:
            job.pace.held_up(seconds)
        if self._scheduler is not None:
            self._scheduler.finish(job, outputs, seconds, error)

    def _job(self, frame: dict[str, Any]) -> Job:
        inputs, timeout = frame["inputs"], frame.get("timeout_ms")
        if type(inputs) is not dict:
            raise ValueError("inputs are not an object")
        call_id = frame["id"]
        if call_id in self._jobs:
            raise ValueError(f"id {call_id} is in use")
        deadline = None if timeout is None else self._reader.arrived + timeout / 1000
        return Job(call_id, inputs, deadline, frame)

    def _dispatch(self, job: Job, entry: Entry) -> None:
        if entry.program is None:
            self._answer(job, None, 0.0, entry.refused)
            return
        program = job.program = entry.program
        if not program.is_async and not program.stateful:
            job.pace = entry.pace
        # A call abandoned while its definition was built has been answered then.
        if not job.abandoned and self._scheduler is not None:
            self._scheduler.submit(job)

    def _chunks(self, call_id: int, window: Any) -> Chunks:
        def write(chunk: Any) -> int:
            body = encode_chunk(call_id, chunk)
            if not self._wire.fits(body):
                raise _too_large("a chunk of the answer makes", len(body), self._wire.max_frame)
            self._send_body(body)
            return len(body)

        return Chunks(_count(window), write, self._wire.max_frame)

    def _on_credit(self, frame: dict[str, Any]) -> None:
        count = _count(frame["n"])
        with self._lock:
            job = self._jobs.get(frame["id"])
        # A call that has just ended needs none any more.
        if job is not None and job.chunks is not None:
            job.chunks.grant(count)

    def _on_cancel(self, frame: dict[str, Any]) -> None:
        with self._lock:
            job = self._jobs.get(frame["id"])
        if job is not None and self._scheduler is not None:
            self._scheduler.abandon(job)

    def _on_forget(self, frame: dict[str, Any]) -> None:
        with self._lock:
            self._entries.pop(frame["key"], None)

    def _on_ping(self, frame: dict[str, Any]) -> None:
        self._send({"type": "pong", "id": frame["id"], "in_flight": len(self._jobs)})

    def _on_shutdown(self, _frame: dict[str, Any]) -> None:
        self._draining = True
        self._leave_if_drained()

    def _on_unknown(self, frame: dict[str, Any]) -> None:
        log(f"a frame of the unknown type {frame.get('type')!r} is ignored")
        if "id" in frame:
            error = Failure(f"frames of type {frame.get('type')!r} are unknown here")
            self._send({"type": "error", "id": frame["id"], "error": describe(error)})

    def _configured(self) -> None:
        if self._scheduler is None:
            raise ValueError("it came before the configuration")
        if self._draining:
            raise ValueError("it came after the shutdown")

    def _answer(
        self, job: Job, outputs: dict[str, Any] | None, seconds: float, error: BaseException | None
    ) -> None:
        if error is None and job.pace is not None:
            job.pace.note(seconds)
        body = self._body(job, outputs, seconds, error)
        with self._lock:
            # An abandoned call may be answered by a cancel and by the end of its build: once only.
            if self._jobs.pop(job.id, None) is None:
                return
            self._unsent += 1
        self._send_body(body)
        self._sent()

    def _body(
        self, job: Job, outputs: dict[str, Any] | None, seconds: float, error: BaseException | None
    ) -> bytes:
        if error is None and outputs is not None:
            frame = {
                "type": "result",
                "id": job.id,
                "outputs": outputs,
                "program_ms": int(seconds * 1e6) / 1e3,
            }
            if job.usage is not None:
                frame["usage"] = job.usage
            try:
                if job.program is not None and job.program.stateful:
                    check_json("the state that dump_state() told", job.left)
                    frame["state"] = job.left
                body = encode(frame, outputs)
                if len(body) <= self._max_frame:
                    return body
                error = _too_large("the outputs make", len(body), self._max_frame)
            except Exception as raised:
                error = raised
        assert error is not None
        return encode({"type": "error", "id": job.id, "error": describe(error)})

    def _sent(self) -> None:
        with self._lock:
            self._unsent -= 1
        self._leave_if_drained()

    def _leave_if_drained(self) -> None:
        with self._lock:
            drained = self._draining and not self._jobs and not self._unsent
        if drained:
            self._stop_reading()

    def _send(self, frame: dict[str, Any]) -> None:
        self._send_body(encode(frame))

    def _send_body(self, body: bytes) -> None:
        try:
            self._wire.send(body)
        except OSError:
            leave(0)  # nobody is there to answer


def _count(given: Any) -> int:
    if type(given) is not int or given < 1:
        raise ValueError(f"{given!r} is not a number of chunks")
    return given


def _too_large(what: str, size: int, limit: int) -> Failure:
    return BadOutput(f"{what} a frame of {size} bytes, over the maximum of {limit}")


def _preload(name: str) -> None:
    if name == "dspy":
        from .dspy_engine import load

        load()
    else:
        importlib.import_module(name)


def leave(code: int) -> NoReturn:
    """Ends the process at once, whatever its threads do."""
    output.finish()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def run() -> int:
    """Serves the worker protocol over the descriptor named in `DSPEX_WIRE_FD`."""
    fd_text = os.environ.pop("DSPEX_WIRE_FD", "")
    try:
        wire_socket = socket.socket(fileno=int(fd_text))
        wire = Wire(wire_socket.fileno(), wire_socket.fileno(), max_frame_from_env())
    except (ValueError, OSError, FrameError) as error:
        log(f"no wire: DSPEX_WIRE_FD={fd_text!r} is not a socket that was handed down: {error}")
        return 2
    # Ctrl-C in a terminal reaches the whole group; when to end is the server's to say. A handler,
    # not SIG_IGN, because programs that user code starts would inherit the latter.
    signal.signal(signal.SIGINT, lambda *_: None)

    def stop_reading() -> None:
        with contextlib.suppress(OSError):
            wire_socket.shutdown(socket.SHUT_RD)

    return Server(wire, stop_reading).serve()
