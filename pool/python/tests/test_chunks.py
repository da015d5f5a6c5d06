"""Generators: their chunks, their outputs, back-pressure and their end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Bridge, Worker, wait_until

# On a busy machine the time of a call may be over before it has begun, and then it never runs: it
# is given more until it does.
TIMES = (100, 1_000, 10_000)
GENERATORS = [
    ("counts_to", {"n": 10}, list(range(1, 11)), {"sum": 55}),
    ("async_counts_to", {"n": 10}, list(range(1, 11)), {"result": list(range(1, 11))}),
    ("spells", {"text": "häuser"}, list("häuser"), {"result": "häuser"}),
    ("spells", {"text": ""}, [], {"result": []}),
]


@pytest.mark.parametrize(("name", "inputs", "chunks", "outputs"), GENERATORS)
def test_outputs_are_the_same_whether_chunks_are_asked_for_or_not(
    worker: Worker, start_bridge: Callable[..., Bridge], name, inputs, chunks, outputs
):
    worker.define(name)
    assert worker.call(name, **inputs)["outputs"] == outputs
    got, answer = worker.whole_stream(worker.stream(name, **inputs))
    assert got == chunks
    assert answer["outputs"] == outputs
    bridge = start_bridge(mode="standalone")
    target = f"fixture_programs:{name}"
    bridge.succeed("create_program", id="p", program_type="callable", callable=target)
    assert bridge.succeed("execute_program", program_id="p", inputs=inputs)["outputs"] == outputs


def test_a_program_that_is_no_generator_answers_without_chunks(worker: Worker):
    worker.define("echo")
    worker.define("async_echo")
    for name in ("echo", "async_echo"):
        chunks, answer = worker.whole_stream(worker.stream(name, text="x"))
        assert (chunks, answer["outputs"]) == ([], {"text": "x"})


@pytest.mark.parametrize("name", ["counts_for_ever", "async_counts_for_ever"])
def test_a_generator_waits_while_its_reader_does(worker: Worker, tmp_path: Path, name: str):
    worker.define(name)
    path = tmp_path / "reached"
    call = worker.stream(name, window=3, path=str(path))
    seen = [worker.receive()["chunk"] for _ in range(3)]
    # A pong comes after whatever the worker would have sent by itself until then.
    worker.ping()
    assert worker.nothing_waits()
    worker.credit(call, 2)
    seen += [worker.receive()["chunk"] for _ in range(2)]
    assert seen == [1, 2, 3, 4, 5]
    worker.send({"type": "cancel", "id": call})
    answer = worker.receive()
    assert answer["error"]["class"] == "cancelled"
    # It had begun with the chunk that it could not send, and with none after it.
    assert int(path.read_text()) <= 6
    worker.define("echo")
    assert worker.call("echo", text="free")["outputs"] == {"text": "free"}


@pytest.mark.parametrize("name", ["counts_for_ever", "async_counts_for_ever"])
def test_a_generator_ends_at_its_deadline(worker: Worker, tmp_path: Path, name: str):
    worker.define(name)
    path = tmp_path / "reached"
    more = {"stream": True, "window": 1}
    for timeout_ms in TIMES:
        worker.send_call(name, timeout_ms=timeout_ms, more=more, path=str(path))
        first = worker.receive()
        if first["type"] == "chunk":
            break
    assert first["chunk"] == 1
    assert worker.receive()["error"]["class"] == "cancelled"
    assert path.exists()
    # And where nobody asked for its chunks: it is not resumed.
    path.unlink()
    for timeout_ms in TIMES:
        worker.send_call(name, timeout_ms=timeout_ms, path=str(path))
        assert worker.receive()["error"]["class"] == "cancelled"
        if path.exists():
            break
    assert path.exists()


def test_a_generator_ends_with_its_server(start_worker: Callable[..., Worker], tmp_path: Path):
    worker = start_worker()
    worker.configure(concurrency=1)
    worker.define("counts_for_ever")
    worker.stream("counts_for_ever", window=1, path=str(tmp_path / "reached"))
    worker.receive()
    worker.hang_up()
    assert worker.exit_code() == 0


def test_an_error_in_the_middle_ends_the_stream(worker: Worker):
    worker.define("breaks_off")
    chunks, answer = worker.whole_stream(worker.stream("breaks_off", n=3))
    assert chunks == [0, 1, 2]
    assert answer["error"]["exception"] == "ValueError"
    worker.define("yields_an_object")
    chunks, answer = worker.whole_stream(worker.stream("yields_an_object"))
    assert chunks == [1]
    assert answer["error"]["class"] == "program"
    assert "a chunk of the answer" in answer["error"]["message"]


def test_one_at_a_time_holds_for_streams_too(start_worker: Callable[..., Worker]):
    worker = start_worker()
    worker.configure(concurrency=1)
    for name in ("counts_to", "async_counts_to", "echo"):
        worker.define(name)
    first = worker.stream("async_counts_to", window=2, n=5)
    second = worker.stream("counts_to", window=2, n=3)
    third = worker.send_call("echo", text="last")
    assert [worker.receive()["id"] for _ in range(2)] == [first, first]
    worker.ping()
    assert worker.nothing_waits()
    worker.credit(first, 10)
    ids = [worker.receive()["id"] for _ in range(3 + 1 + 2)]
    assert ids == [first] * 4 + [second] * 2
    worker.credit(second, 10)
    assert [worker.receive()["id"] for _ in range(3)] == [second, second, third]


def test_many_streams_at_once_stay_apart(start_worker: Callable[..., Worker]):
    worker = start_worker()
    worker.configure(concurrency=16)
    names = ("counts_to", "async_counts_to")
    for name in names:
        worker.define(name)
    calls = {worker.stream(names[n % 2], window=2, n=20 + n): n for n in range(16)}
    got: dict[int, list[int]] = {call: [] for call in calls}
    answered = 0
    while answered < len(calls):
        frame = worker.receive()
        if frame["type"] == "chunk":
            got[frame["id"]].append(frame["chunk"])
            worker.credit(frame["id"], 1)
        else:
            answered += 1
    for call, n in calls.items():
        assert got[call] == list(range(1, 21 + n))


def test_a_stream_too_long_for_one_answer_needs_a_return_value(start_worker: Callable[..., Worker]):
    worker = start_worker(DSPEX_MAX_FRAME="2000")
    worker.configure()
    worker.define("counts_to")
    worker.define("async_counts_to")
    chunks, answer = worker.whole_stream(worker.stream("counts_to", n=200))
    assert len(chunks) == 200
    assert answer["outputs"] == {"sum": 20100}
    chunks, answer = worker.whole_stream(worker.stream("async_counts_to", n=200))
    assert len(chunks) == 200
    assert "let the generator return" in answer["error"]["message"]


@pytest.mark.parametrize("n", [0, -1, "1", True, None])
def test_credit_that_is_no_count_breaks_the_protocol(worker: Worker, n):
    worker.credit(99, 1)  # of a call that has ended: nobody minds
    worker.ping()
    worker.send({"type": "credit", "id": 99, "n": n})
    assert worker.exit_code() == 2
    assert "credit frame is malformed" in worker.log()


def test_code_that_computes_for_long_can_ask_whether_to_go_on(worker: Worker, tmp_path: Path):
    worker.define("heeds_cancel")
    path = tmp_path / "heeded"
    call = worker.send_call("heeds_cancel", path=str(path))
    worker.ping()
    worker.send({"type": "cancel", "id": call})
    wait_until(path.exists, "the program heeds its cancel")
    assert worker.receive()["error"]["class"] == "cancelled"
    path.unlink()
    for timeout_ms in TIMES:
        worker.send_call("heeds_cancel", timeout_ms=timeout_ms, path=str(path))
        answer = worker.receive()
        if answer["type"] == "result":
            break
    assert answer["outputs"] == {"path": str(path)}


def test_an_async_call_is_cancelled_at_its_deadline_by_the_worker(worker: Worker):
    worker.define("async_sleeper")
    worker.send_call("async_sleeper", timeout_ms=50, seconds=600)
    error = worker.receive()["error"]
    assert (error["class"], error["exception"]) == ("cancelled", "Cancelled")
