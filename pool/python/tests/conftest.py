"""Real workers and bridges as subprocesses. Nothing here waits without a deadline."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).parent.parent
FIXTURES = PACKAGE.parent / "tests" / "fixtures"
LIMIT = 30.0


def environment(**extra: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DSPEX_", "OPENAI_"))}
    return {**kept, "PYTHONPATH": os.pathsep.join([str(PACKAGE), str(FIXTURES)]), **extra}


class Peer:
    """The server's end of a wire: frames with a deadline for each read."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._buffer = b""

    def send(self, frame: Any) -> None:
        self.send_body(json.dumps(frame).encode())

    def send_body(self, body: bytes) -> None:
        self.send_bytes(len(body).to_bytes(4, "big") + body)

    def send_bytes(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._write_fd, data) :]

    def receive(self, within: float = LIMIT) -> dict[str, Any]:
        frame = self.receive_or_end(within)
        assert frame is not None, "the wire ended where a frame was due"
        return frame

    def receive_or_end(self, within: float = LIMIT) -> dict[str, Any] | None:
        deadline = time.monotonic() + within
        while True:
            if len(self._buffer) >= 4:
                length = int.from_bytes(self._buffer[:4], "big")
                if len(self._buffer) >= 4 + length:
                    body = self._buffer[4 : 4 + length]
                    self._buffer = self._buffer[4 + length :]
                    return json.loads(body, parse_constant=_not_json)
            ready, _, _ = select.select(
                [self._read_fd], [], [], max(0, deadline - time.monotonic())
            )
            assert ready, f"no frame within {within} s"
            chunk = os.read(self._read_fd, 1 << 20)
            if not chunk:
                assert not self._buffer, f"the wire ended inside a frame: {self._buffer[:100]!r}"
                return None
            self._buffer += chunk

    def receive_bytes(self, count: int, within: float = LIMIT) -> bytes:
        """Bytes as they come, for a peer that does not speak the protocol."""
        got = b""
        deadline = time.monotonic() + within
        while len(got) < count:
            ready, _, _ = select.select(
                [self._read_fd], [], [], max(0, deadline - time.monotonic())
            )
            assert ready, f"only {got!r} within {within} s"
            chunk = os.read(self._read_fd, count - len(got))
            assert chunk, f"only {got!r} before the end"
            got += chunk
        return got

    def nothing_waits(self) -> bool:
        return not self._buffer and not select.select([self._read_fd], [], [], 0)[0]


def _not_json(text: str) -> Any:
    raise AssertionError(f"{text} is not JSON, but was sent")


class Worker(Peer):
    """A worker of the worker protocol."""

    def __init__(self, log: Path, **extra: str) -> None:
        ours, theirs = socket.socketpair()
        self._log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dspex_worker", "--worker-id", "test-1.1"],
                pass_fds=[theirs.fileno()],
                env=environment(DSPEX_WIRE_FD=str(theirs.fileno()), **extra),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        theirs.close()
        self._socket = ours
        super().__init__(ours.fileno(), ours.fileno())
        self.hello = self.receive()
        self._last_id = 0

    def configure(self, concurrency: int = 2, **more: Any) -> dict[str, Any]:
        frame = {
            "type": "configure",
            "lms": {},
            "allow_modules": ["fixture_programs"],
            "concurrency": concurrency,
            "preload": [],
            **more,
        }
        self.send(frame)
        return self.receive()

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def send_define(self, name: str, definition: dict[str, Any] | None = None, **more: Any) -> int:
        frame_id = self.next_id()
        definition = definition or {"kind": "callable", "target": f"fixture_programs:{name}"}
        frame = {"type": "define", "id": frame_id, "key": f"{name}@1", "definition": definition}
        self.send({**frame, **more})
        return frame_id

    def define(
        self, name: str, definition: dict[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        frame_id = self.send_define(name, definition, **more)
        answer = self.receive()
        assert answer["id"] == frame_id
        return answer

    def send_call(
        self,
        name: str,
        timeout_ms: int = 60_000,
        more: dict[str, Any] | None = None,
        **inputs: Any,
    ) -> int:
        frame_id = self.next_id()
        self.send(
            {
                "type": "call",
                "id": frame_id,
                "key": f"{name}@1",
                "inputs": inputs,
                "session": None,
                "request": f"r-{frame_id}",
                "timeout_ms": timeout_ms,
                **(more or {}),
            }
        )
        return frame_id

    def stream(self, name: str, window: int = 4, **inputs: Any) -> int:
        """A call whose chunks are asked for."""
        return self.send_call(name, more={"stream": True, "window": window}, **inputs)

    def credit(self, call_id: int, count: int) -> None:
        self.send({"type": "credit", "id": call_id, "n": count})

    def whole_stream(self, call_id: int) -> tuple[list[Any], dict[str, Any]]:
        """The chunks, each acknowledged as it comes, and the answer."""
        chunks = []
        while True:
            frame = self.receive()
            assert frame["id"] == call_id
            if frame["type"] != "chunk":
                return chunks, frame
            chunks.append(frame["chunk"])
            self.credit(call_id, 1)

    def remember(self, name: str, state: Any, **inputs: Any) -> dict[str, Any]:
        """A call of a stateful program."""
        frame_id = self.send_call(name, more={"stateful": True, "state": state}, **inputs)
        answer = self.receive()
        assert answer["id"] == frame_id
        return answer

    def call(self, name: str, **inputs: Any) -> dict[str, Any]:
        frame_id = self.send_call(name, **inputs)
        answer = self.receive()
        assert answer["id"] == frame_id
        return answer

    def ping(self) -> dict[str, Any]:
        self.send({"type": "ping", "id": self.next_id()})
        answer = self.receive()
        assert answer["type"] == "pong"
        return answer

    def hang_up(self) -> None:
        self._socket.close()

    def exit_code(self) -> int:
        return self.process.wait(LIMIT)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        self._socket.close()
        _kill(self.process)


class Bridge(Peer):
    """A script of the bridge protocol, over real pipes."""

    def __init__(self, command: list[str], log: Path, mode: str, **extra: str) -> None:
        self._log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, *command, "--mode", mode, "--worker-id", "v1-1.1"],
                env=environment(DSPEX_ALLOW_MODULES="fixture_programs", **extra),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        super().__init__(self.process.stdout.fileno(), self.process.stdin.fileno())
        self._last_id = 0

    def ask(self, command: str, **args: Any) -> dict[str, Any]:
        self._last_id += 1
        self.send({"id": self._last_id, "command": command, "args": args, "timestamp": "now"})
        answer = self.receive()
        assert answer["id"] == self._last_id
        assert "timestamp" in answer
        return answer

    def succeed(self, command: str, **args: Any) -> dict[str, Any]:
        answer = self.ask(command, **args)
        assert answer["success"] is True, answer
        return answer["result"]

    def fail(self, command: str, **args: Any) -> dict[str, Any]:
        answer = self.ask(command, **args)
        assert answer["success"] is False, answer
        assert isinstance(answer["error"], str)
        return answer

    def hang_up(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def exit_code(self) -> int:
        return self.process.wait(LIMIT)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        _kill(self.process)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait(LIMIT)


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    started: list[Worker] = []

    def start(**extra: str) -> Worker:
        worker = Worker(tmp_path / f"worker-{len(started)}.log", **extra)
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.stop()


@pytest.fixture
def worker(start_worker: Callable[..., Worker]) -> Worker:
    """Configured, with two slots."""
    worker = start_worker()
    assert worker.configure() == {"type": "ready"}
    return worker


@pytest.fixture
def start_bridge(tmp_path: Path) -> Iterator[Callable[..., Bridge]]:
    started: list[Bridge] = []

    def start(command: list[str] | None = None, mode: str = "pool-worker", **extra: str) -> Bridge:
        ours = ["-m", "dspex_worker.bridge"]
        bridge = Bridge(command or ours, tmp_path / f"bridge-{len(started)}.log", mode, **extra)
        started.append(bridge)
        return bridge

    yield start
    for bridge in started:
        bridge.stop()


def wait_until(true: Callable[[], Any], what: str) -> None:
    """Polls for an event that only the file system or the kernel can tell."""
    deadline = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < deadline, f"not within {LIMIT} s: {what}"
        time.sleep(0.002)
