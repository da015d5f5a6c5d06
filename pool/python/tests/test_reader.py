"""Short calls run on the thread that reads, and what happens where one is not short after all."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from conftest import Worker, wait_until

from dspex_worker.pace import SHORT, Pace


def made_quick(start_worker: Callable[..., Worker], concurrency: int = 2) -> Worker:
    """A worker that has learnt that `where` is short."""
    worker = start_worker()
    worker.configure(concurrency)
    worker.define("where")
    wait_until(
        lambda: worker.call("where")["outputs"]["thread"] == "reader",
        "short calls run on the thread that reads",
    )
    return worker


def call(worker: Worker, name: str, **inputs: object) -> dict:
    frame_id = worker.next_id()
    return {"type": "call", "id": frame_id, "key": f"{name}@1", "inputs": inputs}


def send_at_once(worker: Worker, *frames: dict) -> None:
    """In one write, so that one read takes all."""
    bodies = [json.dumps(frame).encode() for frame in frames]
    worker.send_bytes(b"".join(len(body).to_bytes(4, "big") + body for body in bodies))


def test_calls_of_unknown_length_do_not_run_on_the_reader(worker):
    worker.define("where")
    assert worker.call("where")["outputs"] == {"thread": "call"}


def test_a_ping_is_answered_while_a_call_on_the_reader_turns_out_long(start_worker, tmp_path):
    worker = made_quick(start_worker)
    gate = tmp_path / "gate"
    long = call(worker, "where", path=str(gate))
    send_at_once(worker, long)
    assert worker.ping()["in_flight"] == 1
    gate.touch()
    answer = worker.receive()
    assert (answer["id"], answer["outputs"]) == (long["id"], {"thread": "reader"})
    assert worker.ping()["in_flight"] == 0


def test_whoever_takes_over_goes_on_with_what_was_read(start_worker, tmp_path):
    worker = made_quick(start_worker)
    worker.define("echo")
    gate = tmp_path / "gate"
    long = call(worker, "where", path=str(gate))
    behind = [call(worker, "where"), call(worker, "echo", text="x"), call(worker, "where")]
    ping = {"type": "ping", "id": worker.next_id()}
    send_at_once(worker, long, *behind, ping)
    answers = {answer["id"]: answer for answer in (worker.receive() for _ in (*behind, ping))}
    assert answers.keys() == {ping["id"], *(frame["id"] for frame in behind)}
    assert worker.nothing_waits(), "the long call is not over"
    gate.touch()
    assert worker.receive()["id"] == long["id"]
    assert worker.ping()["in_flight"] == 0
    assert worker.nothing_waits()


def test_the_reading_is_handed_on_again_and_again(start_worker, tmp_path):
    worker = made_quick(start_worker, concurrency=4)
    for turn in range(3):
        gate = tmp_path / f"gate-{turn}"
        long = call(worker, "where", path=str(gate))
        send_at_once(worker, long, call(worker, "where"))
        assert worker.receive()["id"] != long["id"]
        gate.touch()
        assert worker.receive()["id"] == long["id"]
        wait_until(
            lambda: worker.call("where")["outputs"]["thread"] == "reader",
            "the program has earned it again",
        )


def test_an_answer_does_not_wait_for_a_long_call_behind_it(start_worker, tmp_path):
    worker = made_quick(start_worker)
    gate = tmp_path / "gate"
    short, long = call(worker, "where"), call(worker, "where", path=str(gate))
    send_at_once(worker, short, long)
    assert worker.receive()["id"] == short["id"]
    gate.touch()
    assert worker.receive()["id"] == long["id"]


def test_a_cancelled_call_behind_a_long_one_never_runs(start_worker, tmp_path):
    worker = made_quick(start_worker, concurrency=1)
    worker.define("writes_file")
    gate, trace = tmp_path / "gate", tmp_path / "trace"
    long = call(worker, "where", path=str(gate))
    waiting = call(worker, "writes_file", path=str(trace))
    send_at_once(worker, long, waiting, {"type": "cancel", "id": waiting["id"]})
    answer = worker.receive()
    assert (answer["id"], answer["error"]["class"]) == (waiting["id"], "cancelled")
    gate.touch()
    assert worker.receive()["id"] == long["id"]
    assert worker.ping()["in_flight"] == 0
    assert not trace.exists()


def test_a_long_call_on_the_reader_can_be_given_up(start_worker, tmp_path):
    worker = made_quick(start_worker, concurrency=1)
    gate = tmp_path / "gate"
    long = call(worker, "where", path=str(gate))
    send_at_once(worker, long, {"type": "cancel", "id": long["id"]})
    following = call(worker, "where")
    send_at_once(worker, following)
    assert worker.ping()["in_flight"] == 2, "it still holds its slot"
    gate.touch()
    answers = [worker.receive(), worker.receive()]
    assert [answer["id"] for answer in answers] == [long["id"], following["id"]]
    assert answers[0]["error"]["class"] == "cancelled"
    assert answers[1]["type"] == "result"


def test_short_and_long_calls_are_answered_in_order_at_a_concurrency_of_one(start_worker):
    worker = made_quick(start_worker, concurrency=1)
    worker.define("sleeper")
    frames = []
    for _ in range(10):
        frames += [call(worker, "where"), call(worker, "sleeper", seconds=0.001)]
    send_at_once(worker, *frames)
    assert [worker.receive()["id"] for _ in frames] == [frame["id"] for frame in frames]


def test_a_shutdown_behind_a_long_call_on_the_reader_waits_for_it(start_worker, tmp_path):
    worker = made_quick(start_worker)
    gate = tmp_path / "gate"
    short, long = call(worker, "where"), call(worker, "where", path=str(gate))
    send_at_once(worker, short, long, {"type": "shutdown"})
    assert worker.receive()["id"] == short["id"]
    assert worker.ping()["in_flight"] == 1
    gate.touch()
    assert worker.receive()["id"] == long["id"]
    assert worker.receive_or_end() is None
    assert worker.exit_code() == 0


def test_failures_and_late_calls_on_the_reader_are_typed(start_worker):
    worker = made_quick(start_worker)
    error = worker.call("where", path=1)["error"]
    assert (error["class"], error["exception"]) == ("input", "InvalidInput")
    late = {**call(worker, "where"), "timeout_ms": -1}
    send_at_once(worker, late)
    answer = worker.receive()
    assert (answer["id"], answer["error"]["class"]) == (late["id"], "cancelled")
    assert worker.ping()["in_flight"] == 0


def test_many_answers_come_once_each(start_worker):
    worker = made_quick(start_worker)
    seen = 0
    for _ in range(100):
        frames = [call(worker, "where") for _ in range(200)]
        send_at_once(worker, *frames)
        ids = sorted(worker.receive()["id"] for _ in frames)
        assert ids == [frame["id"] for frame in frames]
        seen += len(ids)
    assert seen == 20_000
    assert worker.ping()["in_flight"] == 0
    assert worker.nothing_waits()


@pytest.fixture
def quick() -> Pace:
    pace = Pace()
    while not pace.quick:
        pace.note(SHORT / 10)
    return pace


def test_a_program_is_quick_only_after_it_was_seen_to_be():
    pace = Pace()
    noted = []
    for _ in range(3):
        noted.append(pace.quick)
        pace.note(SHORT / 10)
    assert noted == [False, False, False]
    assert pace.quick
    slow = Pace()
    for _ in range(1_000):
        slow.note(SHORT * 1.1)
    assert not slow.quick


def test_one_interruption_is_forgiven_and_slowness_is_not(quick):
    quick.note(3.0)
    assert quick.quick
    for _ in range(20):
        quick.note(SHORT * 2)
    assert not quick.quick


def test_each_hold_up_makes_it_longer_to_earn(quick):
    needed = []
    for _ in range(3):
        quick.held_up(1.0)
        assert not quick.quick
        calls = 0
        while not quick.quick:
            quick.note(SHORT / 10)
            calls += 1
        needed.append(calls)
    assert needed == sorted(set(needed)), needed
