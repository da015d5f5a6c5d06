"""DSPy programs in a real worker: streamed, many at once, with a session's state."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import LIMIT, Worker
from stand_in import StandIn

from dspex_worker import engine

pytestmark = pytest.mark.skipif(engine.dspy_version() is None, reason="DSPy is not installed")
SIGNATURE = {"inputs": [{"name": "question"}], "outputs": [{"name": "answer"}]}


def definition(module: str = "predict", lm: str | None = None, **signature: Any) -> dict[str, Any]:
    return {"kind": "dspy", "signature": {**SIGNATURE, **signature}, "module": module, "lm": lm}


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as stand_in:
        yield stand_in


@pytest.fixture
def worker(start_worker: Callable[..., Worker], stand_in: StandIn) -> Worker:
    """With sixteen slots and three models."""
    worker = start_worker(TEST_MODEL_KEY="sk-test-123456")
    lms = {
        name: {
            "model": f"openai/{model}",
            "api_base": stand_in.address,
            "api_key_env": "TEST_MODEL_KEY",
            "cache": name == "cached",
        }
        for name, model in (("default", "small"), ("other", "large"), ("cached", "kept"))
    }
    assert worker.configure(concurrency=16, lms=lms, preload=["dspy"]) == {"type": "ready"}
    return worker


def joined(chunks: list[dict[str, str]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for chunk in chunks:
        assert set(chunk) == {"field", "text"}
        texts[chunk["field"]] = texts.get(chunk["field"], "") + chunk["text"]
    return texts


def test_text_fields_come_as_the_model_writes_them(worker: Worker, stand_in: StandIn):
    stand_in.values = {"reasoning": "one thing\nleads to another", "answer": "  forty-two [sic] "}
    worker.define("p", definition("chain_of_thought"))
    plain = worker.call("p", question="why?")["outputs"]
    chunks, answer = worker.whole_stream(worker.stream("p", question="why?"))
    assert answer["outputs"] == plain
    assert joined(chunks) == plain
    assert len(chunks) > 5
    assert [request.get("stream", False) for request in stand_in.requests] == [False, True]


def test_fields_that_are_not_text_are_not_streamed(worker: Worker, stand_in: StandIn):
    stand_in.values = {"answer": "words", "score": "7"}
    outputs = [{"name": "answer"}, {"name": "score", "type": "int"}]
    worker.define("p", definition(outputs=outputs))
    chunks, answer = worker.whole_stream(worker.stream("p", question="why?"))
    assert joined(chunks) == {"answer": "words"}
    assert answer["outputs"] == {"answer": "words", "score": 7}
    worker.define("n", definition(outputs=[{"name": "score", "type": "int"}]))
    chunks, answer = worker.whole_stream(worker.stream("n", question="why?"))
    assert (chunks, answer["outputs"]) == ([], {"score": 7})


def test_an_agent_answers_without_chunks(worker: Worker, stand_in: StandIn):
    stand_in.values = {
        "next_thought": "done",
        "next_tool_name": "finish",
        "next_tool_args": "{}",
        "reasoning": "r",
        "answer": "a",
    }
    worker.define("p", definition("react"))
    chunks, answer = worker.whole_stream(worker.stream("p", question="why?"))
    assert chunks == []
    assert answer["outputs"]["answer"] == "a"


def test_the_model_is_held_up_where_chunks_are_not_taken(worker: Worker, stand_in: StandIn):
    stand_in.values = {"answer": "abc" * 40_000}
    reached = [0]

    def note(number: int) -> None:
        reached[0] = number

    stand_in.before_piece = note
    worker.define("p", definition())
    call = worker.stream("p", window=2, question="why?")
    assert [worker.receive()["type"] for _ in range(2)] == ["chunk"] * 2
    worker.ping()
    assert worker.nothing_waits()
    worker.send({"type": "cancel", "id": call})
    assert worker.receive()["error"]["class"] == "cancelled"
    assert stand_in.broken_off.wait(LIMIT), "the request to the model was not given up"
    assert reached[0] < 40_000


def test_a_stream_ends_at_its_deadline_while_the_model_is_silent(worker: Worker, stand_in: StandIn):
    silent = threading.Event()
    stand_in.before_piece = lambda number: silent.wait(LIMIT) if number == 8 else None
    worker.define("p", definition())
    more = {"stream": True, "window": 100}
    call = worker.send_call("p", timeout_ms=3000, more=more, question="why?")
    frames = []
    while not frames or frames[-1]["type"] == "chunk":
        frames.append(worker.receive())
    silent.set()
    assert frames[-1]["id"] == call
    assert frames[-1]["error"]["class"] == "cancelled"


def test_the_provider_is_blamed_in_a_stream_too(worker: Worker, stand_in: StandIn):
    stand_in.status = 400
    worker.define("p", definition())
    chunks, answer = worker.whole_stream(worker.stream("p", question="why?"))
    assert chunks == []
    assert answer["error"]["class"] == "program"
    stand_in.status = 401
    chunks, answer = worker.whole_stream(worker.stream("p", question="why?"))
    assert (answer["error"]["class"], answer["error"]["status"]) == ("provider", 401)
    assert "sk-test" not in str(answer)


def test_a_cached_answer_comes_without_chunks(worker: Worker, stand_in: StandIn):
    worker.define("p", definition(lm="cached"))
    _, first = worker.whole_stream(worker.stream("p", question="again?"))
    chunks, second = worker.whole_stream(worker.stream("p", question="again?"))
    assert chunks == []
    assert second["outputs"] == first["outputs"]
    assert len(stand_in.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_sixteen_calls_at_once_keep_their_models_apart(
    worker: Worker, stand_in: StandIn, *, stream: bool
):
    """Each of two programs asks its own model, whatever runs beside it in the same worker."""
    worker.define("small", definition())
    worker.define("large", definition(lm="other"))
    stand_in.meet = 5
    asked = {}
    for number in range(16):
        name, question = ("small", "large")[number % 2], f"question {number}"
        start = worker.stream if stream else worker.send_call
        asked[start(name, question=question)] = (name, question)
    texts: dict[int, list[Any]] = {call: [] for call in asked}
    answers = {}
    while len(answers) < 16:
        frame = worker.receive()
        if frame["type"] == "chunk":
            texts[frame["id"]].append(frame["chunk"])
            worker.credit(frame["id"], 1)
        else:
            answers[frame["id"]] = frame["outputs"]
    for call, (_, question) in asked.items():
        assert question in answers[call]["answer"]
        if stream:
            assert joined(texts[call]) == answers[call]
    models = {}
    for request in stand_in.requests:
        prompt = request["messages"][-1]["content"]
        number = next(n for n in range(15, -1, -1) if f"question {n}" in prompt)
        models[number] = request["model"]
    assert models == {number: ("small", "large")[number % 2] for number in range(16)}
    assert stand_in.most_at_once > 4, "they did not run at the same time"


@pytest.mark.parametrize("module", ["predict", "chain_of_thought", "react"])
def test_state_is_the_predictors_own_and_holds_no_model(
    worker: Worker, stand_in: StandIn, module: str
):
    stand_in.values = {"next_tool_name": "finish", "next_tool_args": "{}"}
    worker.define("p", definition(module), stateful=True)
    first = worker.remember("p", None, question="why?")
    state = first["state"]
    assert all(predictor["lm"] is None for predictor in state["module"].values())
    assert "sk-test" not in str(state)
    # A demonstration that one session learned is in its prompts, and in nobody else's.
    taught = {
        name: {**predictor, "demos": [{"question": "teach", "answer": "learned"}]}
        for name, predictor in state["module"].items()
    }
    # A state cannot bring a model of its own.
    for predictor in taught.values():
        predictor["lm"] = {"model": "openai/evil", "api_base": "http://127.0.0.1:1/v1"}
    stand_in.requests.clear()
    again = worker.remember("p", {"module": taught, "history": []}, question="why?")
    assert all(predictor["demos"] for predictor in again["state"]["module"].values())
    assert any("learned" in str(request) for request in stand_in.requests)
    assert {request["model"] for request in stand_in.requests} == {"small"}
    stand_in.requests.clear()
    fresh = worker.remember("p", None, question="why?")
    assert fresh["state"] == state
    assert not any("learned" in str(request) for request in stand_in.requests)


def test_a_stateful_program_streams_too(worker: Worker):
    worker.define("p", definition(), stateful=True)
    more = {"stateful": True, "state": None, "stream": True, "window": 4}
    chunks, answer = worker.whole_stream(worker.send_call("p", more=more, question="why?"))
    assert joined(chunks) == answer["outputs"]
    assert "self" in answer["state"]["module"]
    assert answer["state"]["history"] == [{"question": "why?", **answer["outputs"]}]


@pytest.mark.parametrize(
    "state",
    [{"other": {}}, {"module": {}, "history": []}, {"module": {}, "history": ["x"]}, [], "x"],
)
def test_a_state_that_does_not_fit_is_told_so(worker: Worker, state: Any):
    worker.define("p", definition(), stateful=True)
    error = worker.remember("p", state, question="why?")["error"]
    assert error["class"] == "program"
    assert "does not fit" in error["message"]
    assert worker.remember("p", None, question="why?")["type"] == "result"
