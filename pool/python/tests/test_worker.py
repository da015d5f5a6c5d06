"""The worker protocol, spoken with a real worker over a real socketpair."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import LIMIT, environment, wait_until


def test_it_says_hello_first(start_worker):
    worker = start_worker()
    hello = worker.hello
    assert hello["type"] == "hello"
    assert hello["protocol"] == 1
    assert hello["pid"] == worker.process.pid
    assert hello["python"] == ".".join(map(str, sys.version_info[:3]))
    assert hello["engines"]["callable"] == "1"
    assert hello["engines"]["dspy"] is None or isinstance(hello["engines"]["dspy"], str)
    assert hello["capabilities"] == ["cancel", "chunks", "ping", "state", "threads"]


def test_calls_are_answered_with_outputs_and_time(worker):
    assert worker.define("sleeper") == {"type": "result", "id": 1}
    answer = worker.call("sleeper", seconds=0.05)
    assert answer["type"] == "result"
    assert answer["outputs"] == {"slept": 0.05}
    # In milliseconds: seconds would be far less, microseconds far more, on a busy machine too.
    assert 50 <= answer["program_ms"] < 30_000


def test_a_call_may_follow_its_definition_at_once(worker):
    ids = [worker.send_define("echo"), *(worker.send_call("echo", text=str(n)) for n in range(5))]
    answers = {answer["id"]: answer for answer in (worker.receive() for _ in ids)}
    assert answers[ids[0]] == {"type": "result", "id": ids[0]}
    for n, call_id in enumerate(ids[1:]):
        assert answers[call_id]["outputs"] == {"text": str(n)}


def test_a_call_behind_a_refused_definition_is_refused_too(worker):
    define_id, call_id = worker.send_define("nope"), worker.send_call("nope")
    answers = {answer["id"]: answer for answer in (worker.receive(), worker.receive())}
    for one in (define_id, call_id):
        assert answers[one]["error"]["class"] == "rejected"
        assert "nope" in answers[one]["error"]["message"]
    assert worker.call("nope")["error"]["class"] == "rejected"


@pytest.mark.parametrize(
    ("name", "inputs", "kind", "exception", "status"),
    [
        ("raises", {}, "program", "ValueError", None),
        ("raises_type_error", {}, "program", "TypeError", None),
        ("exits", {}, "program", "SystemExit", None),
        ("async_exits", {}, "program", "SystemExit", None),
        ("provider_429", {}, "provider", "RateLimitError", 429),
        ("not_json", {}, "program", "BadOutput", None),
        ("not_a_number", {}, "program", "BadOutput", None),
        ("add", {"a": 1}, "input", "InvalidInput", None),
        ("add", {"a": 1, "b": "2"}, "input", "InvalidInput", None),
        ("add", {"a": 1, "b": 2, "c": 3}, "input", "InvalidInput", None),
        ("async_echo", {}, "input", "InvalidInput", None),
    ],
)
def test_failures_are_typed_and_cost_nothing(worker, name, inputs, kind, exception, status):
    worker.define(name)
    answer = worker.call(name, **inputs)
    assert answer["type"] == "error"
    error = answer["error"]
    assert (error["class"], error["exception"], error["status"]) == (kind, exception, status)
    assert error["message"]
    raised_by_program = kind in ("program", "provider") and exception != "BadOutput"
    assert (error["traceback"] is not None) == raised_by_program
    for _ in range(3):  # both slots, and the event loop, are still there
        worker.define("echo")
        assert worker.call("echo", text="on")["outputs"] == {"text": "on"}
        worker.define("async_echo")
        assert worker.call("async_echo", text="on")["outputs"] == {"text": "on"}


def test_unknown_programs_are_told_apart(worker):
    assert worker.call("echo", text="x")["error"]["class"] == "unknown_program"
    worker.define("echo")
    assert worker.call("echo", text="x")["type"] == "result"
    worker.send({"type": "forget", "key": "echo@1"})
    assert worker.call("echo", text="x")["error"]["class"] == "unknown_program"


def test_state_of_a_module_is_kept_between_calls(worker):
    worker.define("counter")
    assert [worker.call("counter")["outputs"]["result"] for _ in range(3)] == [1, 2, 3]
    worker.define("counter")
    assert worker.call("counter")["outputs"] == {"result": 4}


def test_pings_are_answered_while_every_slot_is_busy(worker, tmp_path):
    gate = tmp_path / "gate"
    worker.define("waits_for_file")
    ids = {worker.send_call("waits_for_file", path=str(gate)) for _ in range(3)}
    assert worker.ping()["in_flight"] == 3
    gate.touch()
    assert {worker.receive()["id"] for _ in ids} == ids
    assert worker.ping()["in_flight"] == 0


def test_a_ping_is_answered_while_pure_python_spins(worker):
    worker.define("spins")
    # It spins longer than anybody waits here, until the worker is stopped.
    worker.send_call("spins", seconds=LIMIT * 2)
    assert worker.ping()["in_flight"] == 1
    assert worker.nothing_waits(), "the ping waited for the call"


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_calls_run_at_once_than_allowed(start_worker, tmp_path, concurrency):
    worker = start_worker()
    worker.configure(concurrency)
    worker.define("waits_for_file")
    worker.define("writes_file")
    worker.define("async_echo")
    gate, trace = tmp_path / "gate", tmp_path / "trace"
    holding = [worker.send_call("waits_for_file", path=str(gate)) for _ in range(concurrency)]
    waiting = [
        worker.send_call("writes_file", path=str(trace)),
        worker.send_call("async_echo", text="x"),
    ]
    assert worker.ping()["in_flight"] == concurrency + 2
    assert not trace.exists(), "a sync call ran beside as many as are allowed"
    assert worker.nothing_waits(), "an async call ran beside as many as are allowed"
    gate.touch()
    answers = [worker.receive() for _ in holding + waiting]
    assert {answer["id"] for answer in answers} == {*holding, *waiting}
    assert all(answer["type"] == "result" for answer in answers)
    if concurrency == 1:
        assert [answer["id"] for answer in answers] == [*holding, *waiting], "in order"


def test_calls_run_side_by_side(worker, tmp_path):
    """Each waits for what only the other does."""
    gate = tmp_path / "gate"
    worker.define("waits_for_file")
    worker.define("writes_file")
    first = worker.send_call("waits_for_file", path=str(gate))
    second = worker.send_call("writes_file", path=str(gate))
    assert {worker.receive()["id"], worker.receive()["id"]} == {first, second}


def test_a_waiting_call_that_is_cancelled_never_runs(start_worker, tmp_path):
    worker = start_worker()
    worker.configure(1)
    worker.define("waits_for_file")
    worker.define("writes_file")
    gate, trace = tmp_path / "gate", tmp_path / "trace"
    running = worker.send_call("waits_for_file", path=str(gate))
    waiting = worker.send_call("writes_file", path=str(trace))
    worker.send({"type": "cancel", "id": waiting})
    answer = worker.receive()
    assert (answer["id"], answer["error"]["class"]) == (waiting, "cancelled")
    gate.touch()
    assert worker.receive()["id"] == running
    assert worker.ping()["in_flight"] == 0
    assert not trace.exists()


def test_a_running_sync_call_is_answered_when_its_slot_is_free(start_worker, tmp_path):
    worker = start_worker()
    worker.configure(1)
    worker.define("waits_for_file")
    worker.define("echo")
    gate = tmp_path / "gate"
    running = worker.send_call("waits_for_file", path=str(gate))
    worker.ping()
    worker.send({"type": "cancel", "id": running})
    worker.send({"type": "cancel", "id": running})
    assert worker.ping()["in_flight"] == 1, "it still holds its slot"
    following = worker.send_call("echo", text="x")
    worker.ping()
    gate.touch()
    answers = {answer["id"]: answer for answer in (worker.receive(), worker.receive())}
    assert answers[running]["error"]["class"] == "cancelled"
    assert answers[following]["outputs"] == {"text": "x"}
    assert worker.ping()["in_flight"] == 0, "and is answered once"


def test_a_running_async_call_is_cancelled_at_once(worker):
    worker.define("async_sleeper")
    running = worker.send_call("async_sleeper", seconds=3_600)
    worker.ping()
    worker.send({"type": "cancel", "id": running})
    answer = worker.receive()
    assert (answer["id"], answer["error"]["class"]) == (running, "cancelled")
    assert worker.ping()["in_flight"] == 0


def test_an_async_call_that_resists_is_answered_when_it_ends(start_worker, tmp_path):
    worker = start_worker()
    worker.configure(1)
    worker.define("async_stubborn")
    gate = tmp_path / "gate"
    running = worker.send_call("async_stubborn", path=str(gate))
    worker.ping()
    worker.send({"type": "cancel", "id": running})
    assert worker.ping()["in_flight"] == 1
    gate.touch()
    answer = worker.receive()
    assert (answer["id"], answer["error"]["class"]) == (running, "cancelled")


def test_a_cancel_that_comes_too_late_is_no_error(worker):
    worker.define("echo")
    answered = worker.call("echo", text="x")["id"]
    worker.send({"type": "cancel", "id": answered})
    worker.send({"type": "cancel", "id": 999_999})
    assert worker.ping()["in_flight"] == 0


def test_cancels_racing_with_answers_answer_each_id_once(worker):
    worker.define("echo")
    worker.define("async_echo")
    ids = []
    for n in range(300):
        ids.append(worker.send_call("async_echo" if n % 2 else "echo", text="x"))
        worker.send({"type": "cancel", "id": ids[-1]})
    answers = [worker.receive() for _ in ids]
    assert sorted(answer["id"] for answer in answers) == ids
    for answer in answers:
        assert answer["type"] == "result" or answer["error"]["class"] == "cancelled"
    assert worker.ping()["in_flight"] == 0
    assert worker.nothing_waits()


def test_a_call_whose_time_passed_in_the_queue_never_runs(start_worker, tmp_path):
    worker = start_worker()
    worker.configure(1)
    worker.define("waits_for_file")
    worker.define("writes_file")
    gate = tmp_path / "gate"
    running = worker.send_call("waits_for_file", path=str(gate))
    late = worker.send_call("writes_file", timeout_ms=50, path=str(tmp_path / "trace"))
    # Its time runs since it was read, which it was when this is answered.
    assert worker.ping()["in_flight"] == 2
    time.sleep(0.1)
    gate.touch()
    assert worker.receive()["id"] == running
    answer = worker.receive()
    assert (answer["id"], answer["error"]["class"]) == (late, "cancelled")
    assert not (tmp_path / "trace").exists()


def test_prints_are_log_and_never_protocol(worker):
    worker.define("prints")
    assert worker.call("prints", lines=200)["outputs"] == {"lines": 200}
    log = worker.log()
    assert "stdout line 199" in log
    assert "stderr line 199" in log


def test_an_answer_too_large_is_an_error(start_worker):
    worker = start_worker(DSPEX_MAX_FRAME="100000")
    worker.configure()
    worker.define("huge")
    error = worker.call("huge", bytes=100_000)["error"]
    assert error["class"] == "program"
    assert "over the maximum of 100000" in error["message"]
    assert len(worker.call("huge", bytes=90_000)["outputs"]["text"]) == 90_000


def test_large_answers_of_many_calls_arrive_whole(worker):
    worker.define("huge")
    sizes = {worker.send_call("huge", bytes=size): size for size in (5_000_000, 1, 3_000_000, 0)}
    for _ in sizes:
        answer = worker.receive()
        assert len(answer["outputs"]["text"]) == sizes[answer["id"]]


def test_shutdown_finishes_what_is_in_flight(start_worker, tmp_path):
    worker = start_worker()
    worker.configure(1)
    worker.define("waits_for_file")
    worker.define("async_echo")
    gate = tmp_path / "gate"
    ids = [
        worker.send_call("waits_for_file", path=str(gate)),
        worker.send_call("async_echo", text="queued"),
    ]
    worker.send({"type": "shutdown"})
    assert worker.ping()["in_flight"] == 2, "pings are answered to the end"
    assert worker.process.poll() is None
    gate.touch()
    answers = [worker.receive() for _ in ids]
    assert [answer["id"] for answer in answers] == ids
    assert all(answer["type"] == "result" for answer in answers)
    assert worker.receive_or_end() is None
    assert worker.exit_code() == 0


def test_shutdown_of_an_idle_worker(worker):
    worker.send({"type": "shutdown"})
    assert worker.receive_or_end() is None
    assert worker.exit_code() == 0


def test_the_end_of_the_wire_ends_the_process_at_once(worker):
    worker.define("sleeper")
    worker.send_call("sleeper", seconds=3_600)
    worker.ping()
    worker.hang_up()
    worker.process.wait(LIMIT)


def test_processes_of_user_code_do_not_hold_the_wire(worker):
    worker.define("starts_a_process")
    child = worker.call("starts_a_process")["outputs"]["pid"]
    try:
        os.kill(worker.process.pid, signal.SIGKILL)
        assert worker.receive_or_end() is None, "the wire ends with the worker"
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


def test_interrupts_from_a_terminal_are_not_the_workers_to_follow(worker):
    worker.process.send_signal(signal.SIGINT)
    worker.define("echo")
    assert worker.call("echo", text="x")["type"] == "result"


def test_a_crash_is_the_end_of_the_wire(worker):
    worker.define("crash")
    worker.send_call("crash")
    assert worker.receive_or_end() is None
    assert worker.exit_code() == 17


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x7f\xff\xff\xff", "over the maximum"),
        (b"\x00\x00\x00\x04junk", "not JSON"),
        (b"\x00\x00\x00\x00", "not JSON"),
        (b"\x00\x00\x00\x02[]", "not an object"),
    ],
)
def test_a_broken_frame_ends_the_worker(worker, data, said):
    worker.send_bytes(data)
    assert worker.receive_or_end() is None
    assert worker.exit_code() == 2
    assert said in worker.log()


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ({"type": "call", "id": 1}, "malformed"),
        ({"type": "call", "id": 1, "key": "x", "inputs": []}, "inputs are not an object"),
        ({"type": "configure", "concurrency": 1}, "configured already"),
        ({"type": "ping"}, "malformed"),
    ],
)
def test_a_malformed_frame_ends_the_worker(worker, frame, said):
    worker.send(frame)
    assert worker.receive_or_end() is None
    assert worker.exit_code() == 2
    assert said in worker.log()


def test_an_id_that_is_in_use_ends_the_worker(worker, tmp_path):
    worker.define("waits_for_file")
    call_id = worker.send_call("waits_for_file", path=str(tmp_path / "never"))
    frame = {"type": "call", "id": call_id, "key": "waits_for_file@1", "inputs": {"path": "x"}}
    worker.send(frame)
    assert worker.exit_code() == 2
    assert "is in use" in worker.log()


def test_calls_before_the_configuration_end_the_worker(start_worker):
    worker = start_worker()
    worker.send_call("echo", text="x")
    assert worker.exit_code() == 2
    assert "before the configuration" in worker.log()


def test_unknown_frames_are_answered_where_they_can_be(worker):
    worker.send({"type": "later"})
    worker.send({"type": "later", "id": 77})
    answer = worker.receive()
    assert (answer["id"], answer["error"]["class"]) == (77, "worker")


def test_what_cannot_be_preloaded_is_fatal(start_worker):
    worker = start_worker()
    answer = worker.configure(preload=["no_such_module"])
    assert answer["type"] == "fatal"
    assert answer["error"]["class"] == "worker"
    assert "no_such_module" in answer["error"]["message"]
    assert worker.exit_code() == 1


def test_a_module_is_preloaded(start_worker):
    worker = start_worker()
    assert worker.configure(preload=["fixture_programs"]) == {"type": "ready"}


def test_a_slow_import_does_not_hold_up_pings_and_calls(start_worker, tmp_path):
    gate = tmp_path / "gate"
    (tmp_path / "slow_import.py").write_text(
        f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.005)\n"
        "def f(): return 1\n"
    )
    path = os.pathsep.join([environment()["PYTHONPATH"], str(tmp_path)])
    worker = start_worker(PYTHONPATH=path)
    worker.configure(allow_modules=["slow_import", "fixture_programs"])
    worker.define("echo")
    target = {"kind": "callable", "target": "slow_import:f"}
    define_id, call_id = worker.send_define("f", target), worker.send_call("f")
    cancelled_id = worker.send_call("f")
    assert worker.ping()["in_flight"] == 2
    assert worker.call("echo", text="x")["type"] == "result"
    worker.send({"type": "cancel", "id": cancelled_id})
    answer = worker.receive()
    assert (answer["id"], answer["error"]["class"]) == (cancelled_id, "cancelled")
    gate.touch()
    answers = {answer["id"]: answer for answer in (worker.receive(), worker.receive())}
    assert answers[define_id]["type"] == "result"
    assert answers[call_id]["outputs"] == {"result": 1}


def test_a_stopped_worker_answers_nothing_until_it_goes_on(worker):
    worker.define("stall")
    worker.send_call("stall")
    stat = Path(f"/proc/{worker.process.pid}/stat")
    wait_until(lambda: _state(stat) == "T", "the worker stops itself")
    worker.send({"type": "ping", "id": 1000})
    assert worker.nothing_waits()
    worker.process.send_signal(signal.SIGCONT)
    assert worker.receive() == {"type": "pong", "id": 1000, "in_flight": 1}


def _state(stat: Path) -> str:
    return stat.read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("fd", ["", "x", "0", "999"])
def test_without_a_wire_it_says_so(fd):
    ended = subprocess.run(
        [sys.executable, "-m", "dspex_worker", "--worker-id", "x"],
        env=environment(DSPEX_WIRE_FD=fd),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    assert ended.returncode == 2
    assert b"no wire" in ended.stderr
    assert b"Traceback" not in ended.stderr
