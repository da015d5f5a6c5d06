"""The guardian: kills what is known by its mark or its session, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import LIMIT, wait_until

from dspex_worker import guardian

SOURCE = Path(guardian.__file__)
FAMILY = f"test{os.getpid():028d}"


def started(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])


@pytest.fixture
def sleepers():
    """Starts processes that would stay."""
    running = []

    def start(mark: str | None = None, *, session: bool = False) -> subprocess.Popen:
        env = {} if mark is None else {"DSPEX_PROCESS": mark}
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", "import time; print(flush=True); time.sleep(300)"],
            env=env,
            stdout=subprocess.PIPE,
            start_new_session=session,
        )
        process.stdout.readline()
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait(LIMIT)
        process.stdout.close()


def guard(*lines: str) -> None:
    """Runs a guardian that is told this, and whose server then goes."""
    ran = subprocess.run(
        [sys.executable, "-I", "-S", str(SOURCE)],
        input="".join(f"{line}\n" for line in lines).encode(),
        timeout=LIMIT,
        check=False,
        capture_output=True,
    )
    assert ran.returncode == 0, ran.stderr


def is_alive(process: subprocess.Popen) -> bool:
    return process.poll() is None


def test_what_carries_the_familys_mark_goes(sleepers):
    ours = sleepers(f"{FAMILY}-1")
    others = [sleepers("another-1"), sleepers(FAMILY), sleepers(f"x{FAMILY}-1"), sleepers()]
    guard(f"= {FAMILY}")
    assert ours.wait(LIMIT) == -signal.SIGKILL
    assert all(map(is_alive, others))


def test_what_is_in_a_session_goes(sleepers):
    ours, other = sleepers(session=True), sleepers(session=True)
    guard(f"= {FAMILY}", f"+ {ours.pid} {started(ours.pid)}")
    assert ours.wait(LIMIT) == -signal.SIGKILL
    assert is_alive(other)


def test_a_session_that_has_ended_is_forgotten(sleepers):
    other = sleepers(session=True)
    guard(f"= {FAMILY}", f"+ {other.pid} {started(other.pid)}", f"- {other.pid}")
    assert is_alive(other)


def test_a_number_that_was_given_on_is_not_the_session_that_it_was(sleepers):
    other = sleepers(session=True)
    guard(f"= {FAMILY}", f"+ {other.pid} {started(other.pid) - 1}")
    assert is_alive(other)


def test_without_a_family_no_mark_is_known(sleepers):
    others = [sleepers("-1"), sleepers("")]
    guard("nonsense", "+ x y", "+ 1", "")
    assert all(map(is_alive, others))


def test_signals_of_a_terminal_do_not_end_it():
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(SOURCE)], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        masked = 0

        def ignored() -> bool:
            nonlocal masked
            status = Path(f"/proc/{process.pid}/status").read_text()
            masked = int(status.split("SigIgn:")[1].split()[0], 16)
            return all(masked >> (n - 1) & 1 for n in (1, 2, 3, 15))

        wait_until(ignored, "it ignores the signals")
        process.stdin.close()
        assert process.wait(LIMIT) == 0
    finally:
        process.kill()
        process.wait(LIMIT)
