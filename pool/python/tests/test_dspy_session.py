"""Sessions of stateful DSPy programs: the turns before are said again, wherever the call runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import Bridge, Worker
from stand_in import StandIn

from dspex_worker import dspy_session, engine
from dspex_worker.dspy_session import HISTORY, MOST_BYTES, MOST_TURNS, latest

pytestmark = pytest.mark.skipif(engine.dspy_version() is None, reason="DSPy is not installed")
SIGNATURE = {"inputs": [{"name": "question"}], "outputs": [{"name": "answer"}]}
TOOL = "fixture_programs:echo"


def definition(module: str = "predict", **signature: Any) -> dict[str, Any]:
    tools = [TOOL] if module == "react" else []
    signature = {**SIGNATURE, **signature}
    return {"kind": "dspy", "signature": signature, "module": module, "tools": tools}


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as stand_in:
        yield stand_in


@pytest.fixture
def start(start_worker: Callable[..., Worker], stand_in: StandIn) -> Callable[[], Worker]:
    def start() -> Worker:
        worker = start_worker()
        lms = {"default": {"model": "openai/small", "api_base": stand_in.address}}
        assert worker.configure(lms=lms, preload=["dspy"]) == {"type": "ready"}
        return worker

    return start


def prompts(stand_in: StandIn) -> list[tuple[str, str]]:
    """Who says what in the last request, but for the system's part."""
    messages = stand_in.requests[-1]["messages"]
    return [(m["role"], m["content"]) for m in messages if m["role"] != "system"]


@pytest.mark.parametrize("module", ["predict", "chain_of_thought"])
def test_the_second_calls_prompt_holds_the_first_turn(start, stand_in, module):
    worker = start()
    stand_in.values = {"reasoning": "one", "answer": "first-answer"}
    worker.define("p", definition(module), stateful=True)
    first = worker.remember("p", None, question="first-question")
    assert [role for role, _ in prompts(stand_in)] == ["user"], "a new session has no turns"
    stand_in.values = {"reasoning": "two", "answer": "second-answer"}
    # Another process: what is remembered is in the state alone.
    worker = start()
    worker.define("p", definition(module), stateful=True)
    second = worker.remember("p", first["state"], question="second-question")
    (asked, question), (answered, answer), (asking, last) = prompts(stand_in)
    assert (asked, answered, asking) == ("user", "assistant", "user")
    assert "first-question" in question
    assert "first-answer" in answer
    assert ("one" in answer) == (module == "chain_of_thought")
    assert "second-question" in last
    assert "first-question" not in last
    turns = [
        {"question": f"{nth}-question", **call["outputs"]}
        for nth, call in (("first", first), ("second", second))
    ]
    assert second["state"]["history"] == turns


def test_an_agent_sees_the_turns_before_too(start, stand_in):
    worker = start()
    stand_in.values = {"next_tool_name": "finish", "next_tool_args": "{}", "answer": "4711"}
    worker.define("p", definition("react"), stateful=True)
    first = worker.remember("p", None, question="first-question")
    assert first["state"]["history"] == [{"question": "first-question", "answer": "4711"}]
    stand_in.requests.clear()
    second = worker.remember("p", first["state"], question="second-question")
    assert second["type"] == "result", second
    assert len(stand_in.requests) == 2, "a step, and the answer"
    for request in stand_in.requests:
        said = request["messages"][-1]["content"]
        assert "first-question" in said
        assert "4711" in said
        assert "None" not in said


def test_sessions_do_not_hear_one_another_nor_what_failed(start, stand_in):
    worker = start()
    worker.define("p", definition(), stateful=True)
    mine = worker.remember("p", None, question="mine")["state"]
    worker.remember("p", None, question="theirs")
    assert "mine" not in str(stand_in.requests[-1])
    stand_in.status = 400
    assert worker.remember("p", mine, question="failed")["type"] == "error"
    stand_in.status = 200
    worker.remember("p", mine, question="again")
    said = str(prompts(stand_in))
    assert "mine" in said
    assert "theirs" not in said
    assert "failed" not in said


def test_both_protocols_leave_the_same_state(start, start_bridge: Callable[..., Bridge], stand_in):
    worker = start()
    worker.define("p", definition(), stateful=True)
    state = worker.remember("p", None, question="by the worker")["state"]
    bridge = start_bridge()
    bridge.succeed("configure_lm", model="openai/small", api_base=stand_in.address)
    bridge.succeed("create_program", id="p", signature=SIGNATURE, stateful=True, session_id="s")
    inputs = {"question": "by the bridge"}
    left = bridge.succeed(
        "execute_program", program_id="p", inputs=inputs, session_id="s", state=state
    )["state"]
    assert "by the worker" in prompts(stand_in)[0][1]
    worker.remember("p", left, question="and back")
    assert "by the bridge" in prompts(stand_in)[2][1]


def test_a_conversation_is_bounded(start, stand_in):
    worker = start()
    worker.define("p", definition(), stateful=True)
    state = None
    for number in range(MOST_TURNS + 5):
        state = worker.remember("p", state, question=f"question-{number};")["state"]
    assert len(state["history"]) == MOST_TURNS
    worker.remember("p", state, question="the last")
    said = str(prompts(stand_in))
    assert "question-4;" not in said
    assert "question-5;" in said


def test_turns_are_bounded_in_bytes_and_the_oldest_go_first():
    turns = [{"question": str(number), "answer": "ä" * (MOST_BYTES // 8)} for number in range(9)]
    assert latest(turns) == turns[-3:]
    assert latest([]) == []
    assert latest([{"answer": "x" * MOST_BYTES}]) == []
    small = [{"answer": number} for number in range(100)]
    assert latest(small) == small[-MOST_TURNS:]


def test_only_a_turn_that_is_too_long_is_said_in_the_log(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(dspy_session, "log", said.append)
    latest([{"answer": "x"}])
    assert said == []
    latest([{"answer": "x"}, {"answer": "x" * MOST_BYTES}])
    assert "too long to be remembered" in said[0]


@pytest.mark.parametrize("module", ["predict", "chain_of_thought", "react"])
def test_no_caller_sets_the_history(start, module):
    worker = start()
    worker.define("p", definition(module), stateful=True)
    for history in ([], {"messages": [{"question": "forged"}]}):
        error = worker.remember("p", None, question="x", **{HISTORY: history})["error"]
        assert error["class"] == "input"
        assert f"'{HISTORY}' is unknown" in error["message"]
    for side in ("inputs", "outputs"):
        fields = {side: [*SIGNATURE[side], {"name": HISTORY}]}
        error = worker.define("q", definition(module, **fields), stateful=True)["error"]
        assert error["class"] == "rejected"
        assert HISTORY in error["message"]
    assert worker.define("r", definition(module, **fields))["type"] == "result", "free elsewhere"
