"""The fork server, spoken with over a real socketpair."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import LIMIT, Peer, environment, wait_until

MARK = "DSPEX_PROCESS"


class Zygote(Peer):
    """A fork server of our own, and the workers that it forked."""

    def __init__(self, log: Path, **extra: str) -> None:
        self.socket, theirs = socket.socketpair()
        self._log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dspex_worker.zygote"],
                pass_fds=[theirs.fileno()],
                env=environment(**{"DSPEX_WIRE_FD": str(theirs.fileno()), MARK: "0" * 65, **extra}),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        theirs.close()
        super().__init__(self.socket.fileno(), self.socket.fileno())
        self._pidfds: list[int] = []

    def warm(self, *imports: str, warmup: tuple[str, ...] = ()) -> dict:
        self.send({"type": "warm", "imports": imports, "warmup": warmup})
        return self.receive()

    def receive_with_descriptors(self) -> tuple[dict, list[int]]:
        """The next frame: one that comes alone, with what came beside it."""
        assert not self._buffer
        ready, _, _ = select.select([self.socket], [], [], LIMIT)
        assert ready, f"no frame within {LIMIT} s"
        data, fds, _, _ = socket.recv_fds(self.socket, 1 << 16, 8)
        self._buffer += data
        return self.receive(), list(fds)

    def fork(self, name: str = "w", **env: str) -> tuple[dict, Peer, int]:
        """The answer, the worker's wire, and the end of its standard output that we read."""
        ours, theirs = socket.socketpair()
        out_read, out_write = os.pipe()
        frame = {
            "type": "fork",
            "id": 1,
            "name": name,
            "env": {**environment(), MARK: "1" * 65, **env},
            "limits": {},
        }
        fds = [theirs.fileno(), out_write, out_write]
        self.send_with(frame, fds)
        theirs.close()
        os.close(out_write)
        answer, pidfds = self.receive_with_descriptors()
        self._pidfds += pidfds
        worker = Peer(ours.fileno(), ours.fileno())
        worker.socket = ours
        return answer, worker, out_read

    def send_with(self, frame: dict, fds: list[int]) -> None:
        body = json.dumps(frame).encode()
        socket.send_fds(self.socket, [len(body).to_bytes(4, "big") + body], fds)

    def stop(self) -> None:
        for fd in self._pidfds:
            os.close(fd)
        self.socket.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LIMIT)

    def log(self) -> str:
        return self._log.read_text(errors="replace")


@pytest.fixture
def zygote(tmp_path):
    zygote = Zygote(tmp_path / "zygote.log", OPENAI_API_KEY="")
    yield zygote
    zygote.stop()


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def sees(worker: Peer) -> dict:
    """What a forked worker, which has said hello, finds about itself."""
    worker.send({"type": "configure", "allow_modules": ["fixture_processes"], "concurrency": 1})
    assert worker.receive()["type"] == "ready"
    definition = {"kind": "callable", "target": "fixture_processes:sees"}
    worker.send({"type": "define", "id": 1, "key": "sees@1", "definition": definition})
    call = {"type": "call", "id": 2, "key": "sees@1", "inputs": {}, "session": None}
    worker.send({**call, "request": "r", "timeout_ms": 60_000})
    assert worker.receive()["id"] == 1
    return worker.receive()["outputs"]


def test_it_imports_and_is_ready(zygote):
    ready = zygote.warm("json", "fixture_programs", warmup=("fixture_programs:pid",))
    assert ready["type"] == "ready"
    assert ready["python"] == ".".join(map(str, sys.version_info[:3]))


def test_a_forked_worker_speaks_the_worker_protocol(zygote):
    zygote.warm("fixture_programs")
    answer, worker, out = zygote.fork()
    assert answer["type"] == "forked"
    assert len(zygote._pidfds) == 1
    hello = worker.receive()
    assert hello["type"] == "hello"
    assert hello["pid"] == answer["pid"]
    assert os.getsid(answer["pid"]) == answer["pid"]
    worker.socket.close()
    ended = zygote.receive()
    assert ended == {"type": "ended", "pid": answer["pid"], "code": 0}
    assert Path(f"/proc/{answer['pid']}").exists(), "it is kept until it is released"
    zygote.send({"type": "release", "pid": answer["pid"]})
    wait_until(lambda: not Path(f"/proc/{answer['pid']}").exists(), "it is reaped")
    os.close(out)


def test_a_worker_released_before_its_end_is_reaped_at_its_end(zygote):
    zygote.warm()
    answer, worker, out = zygote.fork()
    worker.receive()
    zygote.send({"type": "release", "pid": answer["pid"]})
    signal.pidfd_send_signal(zygote._pidfds[0], signal.SIGKILL)
    assert zygote.receive() == {"type": "ended", "pid": answer["pid"], "signal": 9}
    wait_until(lambda: not Path(f"/proc/{answer['pid']}").exists(), "it is reaped")
    worker.socket.close()
    os.close(out)


def test_a_key_goes_to_the_worker_and_not_to_the_server(zygote):
    zygote.warm("fixture_processes")
    answer, worker, out = zygote.fork(SECRET="s3cr3t")
    worker.receive()
    assert b"s3cr3t" not in Path(f"/proc/{zygote.process.pid}/environ").read_bytes()
    shown = Path(f"/proc/{answer['pid']}/environ").read_bytes()
    assert b"s3cr3t" not in shown
    assert f"{MARK}={'1' * 65}".encode() in shown.split(b"\0"), "found by the mark of its own"
    assert sees(worker)["environment"]["SECRET"] == "s3cr3t"
    worker.socket.close()
    os.close(out)


def test_what_an_import_did_to_the_environment_holds_in_the_workers(tmp_path):
    given = {"GIVEN_AND_LEFT": "1", "GIVEN_AND_CHANGED": "1", "GIVEN_AND_WITHDRAWN": "1"}
    zygote = Zygote(tmp_path / "zygote.log", **given)
    try:
        zygote.warm("fixture_processes", "sets_environment")
        kept = {name: value for name, value in given.items() if name != "GIVEN_AND_WITHDRAWN"}
        answer, worker, out = zygote.fork(**kept, SET_AND_ASKED_FOR="by the request")
        assert answer["type"] == "forked"
        worker.receive()
        seen = sees(worker)["environment"]
        assert seen["SET_BY_THE_IMPORT"] == "yes"
        assert seen["GIVEN_AND_CHANGED"] == "by the import"
        assert seen["GIVEN_AND_LEFT"] == "1"
        assert seen["SET_AND_ASKED_FOR"] == "by the request"
        assert "GIVEN_AND_WITHDRAWN" not in seen
        worker.socket.close()
        os.close(out)
    finally:
        zygote.stop()


@pytest.mark.parametrize(
    ("module", "culprit"),
    [("leaves_thread", "the thread 'cache-refresher'"), ("leaves_socket", "(socket:")],
)
def test_what_an_import_leaves_behind_is_named(zygote, module, culprit):
    answer = zygote.warm("json", module)
    assert answer["type"] == "unsafe"
    assert culprit in answer["reason"]
    assert f"after the import of {module!r}" in answer["reason"]


def test_a_fork_after_a_thread_appeared_is_refused(zygote):
    """As by a timer that an import left behind, or an import that went on."""
    assert zygote.warm("leaves_thread")["type"] == "unsafe"
    answer, worker, out = zygote.fork()
    assert answer["type"] == "refused"
    assert answer["unsafe"] is True
    assert "cache-refresher" in answer["reason"]
    assert zygote._pidfds == []
    assert worker.receive_or_end() is None, "what was handed down is closed"
    worker.socket.close()
    os.close(out)


def test_an_import_that_fails_is_told(zygote):
    answer = zygote.warm("no_such_module")
    assert answer["type"] == "fatal"
    assert "no_such_module" in answer["reason"]


def test_at_the_end_of_its_wire_it_ends_with_its_workers(zygote):
    zygote.warm()
    answers = [zygote.fork() for _ in range(2)]
    for _, worker, _ in answers:
        worker.receive()
    zygote.socket.shutdown(socket.SHUT_RDWR)
    assert zygote.process.wait(LIMIT) == 0
    for answer, worker, out in answers:
        pid = answer["pid"]
        wait_until(lambda pid=pid: is_gone(pid), "it is gone with its server")
        worker.socket.close()
        os.close(out)


def test_dspy_is_warmed_without_threads_and_without_the_network(tmp_path):
    pytest.importorskip("dspy")
    # Whoever tried to reach anything would go through this address, where nobody listens.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    zygote = Zygote(tmp_path / "zygote.log", **nowhere)
    try:
        assert zygote.warm("dspy")["type"] == "ready", zygote.log()
        assert zygote.log() == "", "every step was done"
        of_it = Path(f"/proc/{zygote.process.pid}")
        assert len(list((of_it / "task").iterdir())) == 1
        held = list((of_it / "fd").iterdir())
        assert len(held) == 6, "three streams, the wire, and the pipe that wakes it"
    finally:
        zygote.stop()
