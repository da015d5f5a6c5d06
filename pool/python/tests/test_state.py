"""Programs whose sessions have a state."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import Bridge, Worker


@pytest.mark.parametrize("name", ["Tally", "AsyncTally"])
def test_two_sessions_know_nothing_of_one_another(worker: Worker, name: str):
    worker.define(name, stateful=True)
    first = worker.remember(name, None, n=1)
    assert first["outputs"] == {"total": 1, "calls": 1}
    second = worker.remember(name, None, n=10)
    assert second["outputs"] == {"total": 10, "calls": 1}
    again = worker.remember(name, first["state"], n=2)
    assert again["outputs"] == {"total": 3, "calls": 2}
    again = worker.remember(name, second["state"], n=20)
    assert again["outputs"] == {"total": 30, "calls": 2}


def test_state_moves_to_another_worker(start_worker: Callable[..., Worker]):
    state = None
    for total in (5, 10, 15):
        worker = start_worker()
        worker.configure()
        worker.define("Tally", stateful=True)
        answer = worker.remember("Tally", state, n=5)
        assert answer["outputs"]["total"] == total
        state = answer["state"]


@pytest.mark.parametrize("name", ["StreamingTally", "AsyncStreamingTally"])
def test_a_stateful_generator_streams_and_remembers(worker: Worker, name: str):
    worker.define(name, stateful=True)
    state = {"total": 7, "calls": 0}
    more = {"stateful": True, "state": state, "stream": True, "window": 2}
    chunks, answer = worker.whole_stream(worker.send_call(name, more=more, n=3))
    assert chunks == [8, 9, 10]
    assert answer["state"]["total"] == 10
    assert worker.remember(name, state, n=3)["state"]["total"] == 10


def test_a_call_that_failed_leaves_no_state(worker: Worker):
    worker.define("Tally", stateful=True)
    answer = worker.remember("Tally", {"total": 1, "calls": 1}, n=13)
    assert answer["type"] == "error"
    assert "state" not in answer


def test_state_that_is_not_json_is_named(worker: Worker):
    worker.define("OddState", stateful=True)
    error = worker.remember("OddState", None, n=1)["error"]
    assert error["class"] == "program"
    assert "dump_state()" in error["message"]
    assert "object" in error["message"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("WithoutLoad", "has no load_state()"),
        ("add", "takes no arguments"),
        ("NeedsArguments", "takes no arguments"),
        ("pid", "makes a dict"),
    ],
)
def test_what_cannot_keep_a_state_is_refused_when_it_is_built(worker: Worker, name, words):
    error = worker.define(name, stateful=True)["error"]
    assert error["class"] == "rejected"
    assert words in error["message"]


def test_inputs_of_a_stateful_program_are_checked(worker: Worker):
    worker.define("Tally", stateful=True)
    error = worker.remember("Tally", None, n="one")["error"]
    assert error["class"] == "input"


def test_a_program_that_is_not_stateful_answers_without_a_state(worker: Worker):
    worker.define("echo")
    assert "state" not in worker.call("echo", text="x")


@pytest.mark.parametrize("name", ["Tally", "AsyncTally"])
def test_the_bridge_keeps_state_too(start_bridge: Callable[..., Bridge], name: str):
    target = f"fixture_programs:{name}"
    state = None
    for total in (2, 4):
        bridge = start_bridge(mode="pool-worker")
        bridge.succeed(
            "create_program",
            id="t",
            program_type="callable",
            callable=target,
            stateful=True,
            session_id="s",
        )
        result = bridge.succeed(
            "execute_program", program_id="t", inputs={"n": 2}, session_id="s", state=state
        )
        assert result["outputs"]["total"] == total
        state = result["state"]
