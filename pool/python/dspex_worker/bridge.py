"""The older bridge protocol over stdin and stdout, one call at a time.

`python -m dspex_worker.bridge --mode pool-worker|standalone --worker-id ID`

Requests are `{"id", "command", "args", "timestamp"}`. In pool-worker mode programs live inside
their session; in standalone mode there is one flat set. Beyond the protocol as it was, failures
carry `error_class`, `exception` and `status`, and `execute_program` reports `program_ms`; readers
that do not know these fields ignore them. A program created with `stateful` takes a `state` with
each execution and answers with the next; chunks are not sent, a generator's outputs are its end.

Invariant: the descriptors of stdin and stdout are taken away before anything else runs, so what
user code prints goes to the log and what it reads is empty.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import signal
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from time import monotonic
from typing import Any

from . import engine
from .engine import LmProfile, Program, Settings
from .errors import (
    BadOutput,
    Failure,
    InvalidInput,
    Rejected,
    UnknownProgram,
    describe,
    keep_secret,
)
from .execution import run, run_async
from .job import Job, Outcome
from .log import log, prepare
from .server import leave
from .wire import FrameError, Wire, check_json, encode, max_frame_from_env

POOL_WORKER = "pool-worker"
STANDALONE = "standalone"
_NO_SESSION = ""


class Bridge:
    """The twelve commands."""

    def __init__(self, mode: str, worker_id: str, settings: Settings) -> None:
        self._mode = mode
        self._worker_id = worker_id
        self._settings = settings
        self._programs: dict[str, dict[str, _Held]] = {}
        self._started = monotonic()
        self._commands_run = 0
        self._errors = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self.stopping = False
        self._commands: dict[Any, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "execute_program": self._execute_program,
            "ping": self._ping,
            "configure_lm": self._configure_lm,
            "create_program": self._create_program,
            "list_programs": self._list_programs,
            "delete_program": self._delete_program,
            "get_program_info": self._get_program_info,
            "get_stats": self._get_stats,
            "cleanup_session": self._cleanup_session,
            "cleanup": self._cleanup,
            "reset_state": self._reset_state,
            "shutdown": self._shutdown,
        }

    def answer(self, request: dict[str, Any]) -> bytes:
        """Runs one request. Always answers, with the request's id."""
        request_id, args = request.get("id"), request.get("args")
        self._commands_run += 1
        try:
            command = self._commands.get(request.get("command"))
            if command is None:
                known = ", ".join(sorted(self._commands))
                raise Failure(f"unknown command {request.get('command')!r}; known are {known}")
            if args is not None and not isinstance(args, dict):
                raise InvalidInput("args must be an object")
            result = command(args or {})
            answer = {"id": request_id, "success": True, "result": result, "timestamp": _now()}
            return encode(answer, result.get("outputs"))
        except BaseException as error:  # SystemExit of a program too is an answer
            return self.failure(request_id, error)

    def failure(self, request_id: Any, error: BaseException) -> bytes:
        """A failed answer."""
        self._errors += 1
        told = describe(error)
        own = isinstance(error, Failure)
        return encode(
            {
                "id": request_id,
                "success": False,
                "error": told["message"] if own else f"{told['exception']}: {told['message']}",
                "timestamp": _now(),
                "error_class": told["class"],
                "exception": told["exception"],
                "message": told["message"],
                "traceback": told["traceback"],
                "status": told["status"],
            }
        )

    def _ping(self, _args: dict[str, Any]) -> dict[str, Any]:
        return {
            "status": "ok",
            "mode": self._mode,
            "worker_id": self._worker_id,
            "pid": os.getpid(),
            "python": platform.python_version(),
            "uptime": round(monotonic() - self._started, 3),
            "engines": {"callable": "1", "dspy": engine.dspy_version()},
        }

    def _configure_lm(self, args: dict[str, Any]) -> dict[str, Any]:
        model, key = args.get("model"), args.get("api_key")
        if not isinstance(model, str) or not model:
            raise InvalidInput("configure_lm needs `model`")
        provider = args.get("provider")
        if isinstance(provider, str) and provider and "/" not in model:
            model = f"{provider}/{model}"
        if isinstance(key, str):
            keep_secret(key)
        variable = args.get("api_key_env")
        if variable and not os.environ.get(variable):
            raise Rejected(f"the environment variable {variable} is not set in the worker")
        profile = LmProfile.from_json({**args, "model": model})
        if key:
            profile = LmProfile(**{**vars(profile), "api_key": key})
        self._settings.lms["default"] = profile
        return {"status": "configured", "model": model}

    def _create_program(self, args: dict[str, Any]) -> dict[str, Any]:
        session, programs = self._session(args)
        program_id = _program_id(args, "id")
        if program_id in programs:
            raise Rejected(f"program {program_id!r} exists already")
        definition = _definition(args)
        try:
            stateful = args.get("stateful") is True
            program = engine.build(definition, self._settings, stateful=stateful)
        except Failure:
            raise
        except BaseException as error:
            raise Rejected(
                f"the program cannot be built: {type(error).__name__}: {error}"
            ) from error
        programs[program_id] = _Held(program, args)
        self._programs[session] = programs
        return {"program_id": program_id, "status": "created"}

    def _execute_program(self, args: dict[str, Any]) -> dict[str, Any]:
        program_id, held = self._held(args)
        inputs = args.get("inputs")
        if not isinstance(inputs, dict):
            raise InvalidInput("execute_program needs `inputs`, an object")
        job = Job(0, inputs, None)
        job.program, job.state = held.program, args.get("state")
        outputs, seconds, error = self._run(job)
        if error is not None:
            raise error
        held.executions += 1
        result = {
            "program_id": program_id,
            "outputs": outputs,
            "program_ms": round(seconds * 1000, 3),
        }
        if held.program.stateful:
            check_json("the state that dump_state() told", job.left)
            result["state"] = job.left
        return result

    def _run(self, job: Job) -> Outcome:
        if not job.on_loop:
            return run(job)
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(run_async(job))

    def _list_programs(self, args: dict[str, Any]) -> dict[str, Any]:
        session, programs = self._session(args)
        listed = [held.info(name) for name, held in programs.items()]
        return {"programs": listed, "total_count": len(listed), **_named(session)}

    def _delete_program(self, args: dict[str, Any]) -> dict[str, Any]:
        session, programs = self._session(args)
        program_id, _held = self._held(args)
        del programs[program_id]
        if not programs:
            self._programs.pop(session, None)
        return {"program_id": program_id, "status": "deleted"}

    def _get_program_info(self, args: dict[str, Any]) -> dict[str, Any]:
        program_id, held = self._held(args)
        return held.info(program_id)

    def _get_stats(self, _args: dict[str, Any]) -> dict[str, Any]:
        return {
            "mode": self._mode,
            "worker_id": self._worker_id,
            "uptime": round(monotonic() - self._started, 3),
            "programs_count": sum(map(len, self._programs.values())),
            "sessions_count": len(self._programs),
            "command_count": self._commands_run,
            "error_count": self._errors,
        }

    def _cleanup_session(self, args: dict[str, Any]) -> dict[str, Any]:
        session = args.get("session_id")
        if not isinstance(session, str):
            raise InvalidInput("cleanup_session needs `session_id`")
        removed = len(self._programs.pop(session, {}))
        return {"status": "cleaned", "session_id": session, "programs_removed": removed}

    def _cleanup(self, _args: dict[str, Any]) -> dict[str, Any]:
        return {"status": "cleaned", "programs_removed": self._forget_all()}

    def _reset_state(self, _args: dict[str, Any]) -> dict[str, Any]:
        removed = self._forget_all()
        self._commands_run = self._errors = 0
        self._settings.lms.clear()
        return {"status": "reset", "programs_removed": removed}

    def _shutdown(self, _args: dict[str, Any]) -> dict[str, Any]:
        self.stopping = True
        return {"status": "shutting_down", "worker_id": self._worker_id}

    def _forget_all(self) -> int:
        removed = sum(map(len, self._programs.values()))
        self._programs.clear()
        return removed

    def _session(self, args: dict[str, Any]) -> tuple[str, dict[str, _Held]]:
        """The session's name and its programs; an unknown session has none yet."""
        session = _NO_SESSION
        if self._mode == POOL_WORKER:
            session = args.get("session_id") or _NO_SESSION
            if not isinstance(session, str) or session == _NO_SESSION:
                raise InvalidInput("session_id is needed in pool-worker mode")
        return session, self._programs.get(session, {})

    def _held(self, args: dict[str, Any]) -> tuple[str, _Held]:
        program_id = _program_id(args, "program_id")
        session, programs = self._session(args)
        held = programs.get(program_id)
        if held is None:
            where = f" in session {session!r}" if session != _NO_SESSION else ""
            raise UnknownProgram(f"program {program_id!r} is not found{where}")
        return program_id, held


class _Held:
    """A program with what it was made from."""

    __slots__ = ("args", "created", "executions", "program")

    def __init__(self, program: Program, args: dict[str, Any]) -> None:
        self.program = program
        self.args = args
        self.created = _now()
        self.executions = 0

    def info(self, program_id: str) -> dict[str, Any]:
        return {
            "id": program_id,
            "program_id": program_id,
            "program_type": self.args.get("program_type") or "predict",
            "signature": self.args.get("signature"),
            "created_at": self.created,
            "execution_count": self.executions,
        }


def _definition(args: dict[str, Any]) -> dict[str, Any]:
    program_type = args.get("program_type") or "predict"
    if program_type == "callable":
        return {"kind": "callable", "target": args.get("callable")}
    signature = args.get("signature")
    if isinstance(signature, dict) and args.get("instructions"):
        signature = {**signature, "instructions": args["instructions"]}
    return {
        "kind": "dspy",
        "signature": signature,
        "module": program_type,
        "tools": args.get("tools") or [],
    }


def _program_id(args: dict[str, Any], name: str) -> str:
    program_id = args.get(name)
    if not isinstance(program_id, str) or not program_id:
        raise InvalidInput(f"`{name}` is needed: the program's id")
    return program_id


def _named(session: str) -> dict[str, Any]:
    return {"session_id": session} if session != _NO_SESSION else {}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat()


def take_stdio() -> tuple[int, int]:
    """Takes stdin and stdout away from everything else: reads give nothing, prints are log."""
    sys.stdout.flush()
    read_fd, write_fd = os.dup(0), os.dup(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    return read_fd, write_fd


def serve(wire: Wire, bridge: Bridge) -> int:
    """Answers requests one at a time until shutdown or the end of stdin."""
    try:
        for request in wire.frames():
            body = bridge.answer(request)
            if not wire.fits(body):
                limit = wire.max_frame
                error = BadOutput(f"the answer has {len(body)} bytes, over the maximum of {limit}")
                body = bridge.failure(request.get("id"), error)
            wire.send(body)
            if bridge.stopping:
                return 0
    except FrameError as error:
        log(f"protocol error: {error}")
        return 2
    except OSError as error:
        log(f"the wire failed: {error}")
        return 1
    return 0


def main() -> int:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(prog="dspex_worker.bridge", description="Bridge protocol")
    parser.add_argument("--mode", choices=(POOL_WORKER, STANDALONE), default=STANDALONE)
    parser.add_argument("--worker-id", default="bridge", help="names the worker in its log")
    arguments = parser.parse_args()
    fds = take_stdio()
    prepare()
    signal.signal(signal.SIGINT, lambda *_: None)
    try:
        wire = Wire(*fds, max_frame_from_env())
    except FrameError as error:
        log(str(error))
        return 2
    modules = os.environ.get("DSPEX_ALLOW_MODULES", "").split(",")
    allowed = tuple(name.strip() for name in modules if name.strip())
    settings = Settings(allow_modules=allowed, late_lm=True)
    return serve(wire, Bridge(arguments.mode, arguments.worker_id, settings))


if __name__ == "__main__":
    # A program may leave threads behind that would hold the process; the pool waits for its end.
    leave(main())
