"""The measure of the rivals, on those that every Python has."""

import itertools
import json
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

import rivals

SCRIPT = Path(__file__).parent / "rivals.py"


@pytest.mark.parametrize("rival", ["process-pool-executor", "multiprocessing-pool"])
def test_a_rival_is_measured_and_ends(rival: str) -> None:
    # Long enough for a busy machine to start the processes before it is over.
    command = [sys.executable, SCRIPT, "--rival", rival, "--seconds", "2"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    result = json.loads(ended.stdout)
    assert result["calls"] > 0
    assert result["rate"] == result["calls"] / 2
    assert 0 < result["p50_us"] <= result["p99_us"]


def test_calls_are_kept_in_flight_and_never_more(monkeypatch: pytest.MonkeyPatch) -> None:
    # A millisecond for each look at the clock: how many calls fit does not hang on the machine.
    ticks = itertools.count()
    monkeypatch.setattr(rivals, "perf_counter", lambda: next(ticks) / 1000)
    lock = threading.Lock()
    in_flight: list[int] = []
    seen: list[int] = []

    def echo(text: str) -> str:
        with lock:
            seen.append(len(in_flight))
            in_flight.pop()
        return text

    with ThreadPoolExecutor(1) as pool:

        def submit() -> Future[str]:
            with lock:
                in_flight.append(1)
            return pool.submit(echo, "text")

        seconds, took = rivals.Meter(4, 0.1, "text").drive(rivals.of_future(submit))
    assert seconds == 0.1
    assert took
    assert all(1 <= count <= 4 for count in seen)
    assert not in_flight


def test_a_wrong_answer_ends_the_measurement() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="'other'"):
        rivals.Meter(2, 5.0, "text").drive(rivals.of_future(lambda: pool.submit(str, "other")))
