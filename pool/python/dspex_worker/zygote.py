"""`python -m dspex_worker.zygote`: the fork server. It imports once, and forks workers on request.

Invariants: it has one thread and no descriptor but its own, checked before each fork; its
environment holds no key, they come with the request and go to the child alone; a worker stays a
zombie until whoever asked for it lets it go, so its number cannot come to mean somebody else; any
other child is an orphan that a worker left behind, and is ended once no living worker owns it.

Frames as everywhere. A `fork` request is followed by three descriptors (wire, standard output,
standard error), its answer by one: the worker's pidfd.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import json
import os
import platform
import resource
import select
import signal
import socket
import sys
import threading
import time
from array import array
from collections import deque
from typing import Any

from . import engine, log, output, server
from .errors import describe
from .warmup import ForkUnsafe, check, warm

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_HANDED_DOWN = 3  # descriptors that come with a request
_COOKIE = b"DSPEX_PROCESS="
_LONGEST_FRAME = 16 * 1024 * 1024
# How long the end of the last children is waited for, in seconds.
_LAST_WAIT = 2.0

_libc = ctypes.CDLL(None, use_errno=True)


class Request:
    """A fork that was asked for, with the descriptors of the worker to be."""

    def __init__(self, frame: dict[str, Any], fds: list[int]) -> None:
        self.id: int = frame["id"]
        self.name: str = frame["name"]
        self.limits: dict[str, int] = frame.get("limits") or {}
        self.wire, self.stdout, self.stderr = fds
        # Variables are bytes; JSON carries them with one character for each byte.
        self.environment = {
            name.encode("latin-1"): value.encode("latin-1") for name, value in frame["env"].items()
        }

    def close(self) -> None:
        """Closes what was handed down."""
        for fd in (self.wire, self.stdout, self.stderr):
            os.close(fd)


class Zygote:
    """The server's state: the wire, the living workers, the zombies that are still kept."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self._buffer = b""
        self._fds: deque[int] = deque()
        self._pid = os.getpid()
        self._living: dict[int, bytes] = {}  # by number, with the cookie
        self._ended: set[int] = set()  # zombies whose end was told
        self._released: set[int] = set()  # to be reaped as soon as they have ended
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # What an import sets is not among it, and what it changes stands here as it was.
        self._given = dict(os.environb)
        self._cookie_at = _find_cookie()
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def serve(self) -> Request | None:
        """Forks until the end of the wire, and returns None then; in a child, its request."""
        poll = select.poll()
        poll.register(self._wire, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._wake_read:
                    with contextlib.suppress(BlockingIOError):
                        while os.read(fd, 4096):
                            pass
                    self._look_after_children()
                    continue
                if not self._receive():
                    self._end_all()
                    return None
                while (frame := self._next_frame()) is not None:
                    request = self._handle(frame)
                    if request is not None:
                        return request

    def _handle(self, frame: dict[str, Any]) -> Request | None:
        kind = frame.get("type")
        if kind == "fork":
            return self._fork(Request(frame, [self._fds.popleft() for _ in range(_HANDED_DOWN)]))
        if kind == "release":
            self._released.add(frame["pid"])
            self._look_after_children()
        elif kind == "warm":
            self._warm(frame)
        else:
            log.log(f"a frame of the unknown type {kind!r} is ignored")
        return None

    def _warm(self, frame: dict[str, Any]) -> None:
        try:
            warm(frame["imports"], frame["warmup"], self._own_descriptors)
        except ForkUnsafe as unsafe:
            self._send({"type": "unsafe", "reason": str(unsafe)})
        except BaseException as error:
            log.log(f"cannot warm up: {type(error).__name__}: {error}")
            self._send({"type": "fatal", "reason": describe(error)["message"]})
        else:
            self._send(
                {
                    "type": "ready",
                    "python": platform.python_version(),
                    "dspy": engine.dspy_version(),
                }
            )

    def _fork(self, request: Request) -> Request | None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        try:
            check(self._own_descriptors() | {request.wire, request.stdout, request.stderr}, "now")
            pid = os.fork()
        except (ForkUnsafe, OSError) as error:
            request.close()
            unsafe = isinstance(error, ForkUnsafe)
            refused = {"type": "refused", "id": request.id, "unsafe": unsafe}
            self._send({**refused, "reason": str(error)})
            return None
        if pid == 0:
            self._become(request)
            return request
        request.close()
        # Nobody else reaps it, so the number is still the child's, alive or not.
        pidfd = os.pidfd_open(pid)
        self._living[pid] = request.environment.get(_COOKIE[:-1], b"")
        self._send({"type": "forked", "id": request.id, "pid": pid}, pidfd)
        os.close(pidfd)
        return None

    def _become(self, request: Request) -> None:
        """Makes the child a worker: what it must not share, it gives up."""
        _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != self._pid:
            os._exit(1)  # the server died before it could take the child along
        os.setsid()
        _libc.prctl(_PR_SET_NAME, request.name.encode()[:15], 0, 0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._wire.close()
        for fd in (self._wake_read, self._wake_write, *self._fds):
            os.close(fd)
        for fd, stream in ((request.stdout, 1), (request.stderr, 2)):
            os.dup2(fd, stream)
            os.close(fd)
        self._take_environment(request)
        cookie = request.environment.get(_COOKIE[:-1], b"")
        if self._cookie_at is not None and len(cookie) == self._cookie_at[1]:
            # What the kernel shows of the environment is that of the server's start. Processes that
            # the worker forks are found by this, so it is written where the kernel reads it.
            ctypes.memmove(self._cookie_at[0], cookie, len(cookie))
        for name, limit in request.limits.items():
            resource.setrlimit(_LIMITS[name], (limit, limit))
        numpy = sys.modules.get("numpy")
        if numpy is not None:  # `random` does this by itself
            numpy.random.seed(int.from_bytes(os.urandom(4), "big"))
        sys.argv[1:] = ["--worker-id", request.name]
        gc.enable()

    def _take_environment(self, request: Request) -> None:
        # What differs from what the server was given. The rest is left as the imports made it, as
        # it would be in a process of the worker's own; and each page that is written to is the
        # worker's own from then on.
        wanted = {**request.environment, b"DSPEX_WIRE_FD": str(request.wire).encode()}
        for name in self._given.keys() - wanted.keys():
            os.environb.pop(name, None)
        for name, value in wanted.items():
            if self._given.get(name) != value:
                os.environb[name] = value

    def _look_after_children(self) -> None:
        """Tells of workers that have ended, reaps those that were let go, ends orphans."""
        for pid in list(self._living):
            info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if info is not None:
                del self._living[pid]
                self._ended.add(pid)
                killed = info.si_code != os.CLD_EXITED
                end = {"signal" if killed else "code": info.si_status}
                self._send({"type": "ended", "pid": pid, **end})
        for pid in self._ended & self._released:
            os.waitpid(pid, 0)
            self._ended.discard(pid)
            self._released.discard(pid)
        for pid in _children(self._pid):
            if pid not in self._living and pid not in self._ended:
                self._look_at_orphan(pid)

    def _look_at_orphan(self, pid: int) -> None:
        if os.waitpid(pid, os.WNOHANG)[0] or self._has_an_owner(pid):
            return
        # It is our own child and not reaped: the number is its own. Its end wakes us again.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def _has_an_owner(self, pid: int) -> bool:
        """Whether a living worker started it: then it may live as long as that one."""
        try:
            if os.getsid(pid) in self._living:
                return True
            with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
                variables = file.read().split(b"\0")
        except OSError:
            return False
        return any(_COOKIE + cookie in variables for cookie in self._living.values() if cookie)

    def _end_all(self) -> None:
        """Nobody is there to ask for workers: they go, and what they started."""
        self._living.clear()
        self._ended.clear()
        deadline = time.monotonic() + _LAST_WAIT
        while time.monotonic() < deadline:
            children = _children(self._pid)
            for pid in children:
                self._look_at_orphan(pid)
            if not children:
                return
            time.sleep(0.002)

    def _own_descriptors(self) -> set[int]:
        own = {0, 1, 2, self._wire.fileno(), self._wake_read, self._wake_write}
        return own.union(self._fds)

    def _receive(self) -> bool:
        space = socket.CMSG_SPACE(64 * array("i").itemsize)
        data, ancillary, flags, _ = self._wire.recvmsg(64 * 1024, space, socket.MSG_CMSG_CLOEXEC)
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array("i")
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
                self._fds.extend(fds)
        if flags & socket.MSG_CTRUNC:
            log.log("descriptors of a request were lost: too many are open")
            return False
        self._buffer += data
        return bool(data)

    def _next_frame(self) -> dict[str, Any] | None:
        if len(self._buffer) < 4:
            return None
        end = 4 + int.from_bytes(self._buffer[:4], "big")
        if end > _LONGEST_FRAME:
            raise ValueError(f"a frame of {end} bytes is over the maximum of {_LONGEST_FRAME}")
        if len(self._buffer) < end:
            return None
        body, self._buffer = self._buffer[4:end], self._buffer[end:]
        frame: dict[str, Any] = json.loads(body)
        return frame

    def _send(self, frame: dict[str, Any], fd: int | None = None) -> None:
        body = json.dumps(frame).encode()
        data = len(body).to_bytes(4, "big") + body
        try:
            sent = socket.send_fds(self._wire, [data], [] if fd is None else [fd])
            self._wire.sendall(data[sent:])
        except OSError:
            pass  # the end of the wire is seen by whoever reads it


_LIMITS = {"address_space": resource.RLIMIT_AS, "open_files": resource.RLIMIT_NOFILE}


def _children(parent: int) -> list[int]:
    try:
        with open(f"/proc/{parent}/task/{parent}/children", "rb") as file:  # noqa: PTH123
            return [int(pid) for pid in file.read().split()]
    except FileNotFoundError:
        pass  # a kernel that is built without that list
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                if int(file.read().rsplit(b")", 1)[1].split()[1]) == parent:
                    found.append(int(name))
    return found


def _find_cookie() -> tuple[int, int] | None:
    """Where in memory the value of our cookie lies that the kernel shows, and its length."""
    with open("/proc/self/stat", "rb") as file:  # noqa: PTH123
        fields = file.read().rsplit(b")", 1)[1].split()
    start, end = int(fields[47]), int(fields[48])  # fields 50 and 51: env_start, env_end
    if not 0 < start < end:
        return None
    shown = b"\0" + ctypes.string_at(start, end - start)
    at = shown.find(b"\0" + _COOKIE)
    if at < 0:
        return None
    at += 1 + len(_COOKIE)
    return start + at - 1, shown.index(b"\0", at) - at


def main() -> int:
    """Serves forks; in a child, serves the worker protocol."""
    output.install()
    fd_text = os.environ.pop("DSPEX_WIRE_FD", "")
    try:
        wire = socket.socket(fileno=int(fd_text))
    except (ValueError, OSError) as error:
        log.log(f"no wire: DSPEX_WIRE_FD={fd_text!r} is not a socket: {error}")
        return 2
    os.set_inheritable(wire.fileno(), False)
    wire.setblocking(True)
    signal.signal(signal.SIGINT, lambda *_: None)
    if Zygote(wire).serve() is not None:
        code = server.run()
        # Taking the interpreter apart would first copy all that the worker shares.
        threading._shutdown()  # noqa: SLF001  (waits for user code's threads, as every exit does)
        atexit._run_exitfuncs()  # noqa: SLF001
        server.leave(code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
