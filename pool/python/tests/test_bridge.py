"""The bridge protocol: our bridge, and a script from before it, over real pipes."""

from __future__ import annotations

import pytest
from conftest import FIXTURES

LEGACY = [str(FIXTURES / "legacy_bridge.py")]
SIGNATURE = {
    "inputs": [{"name": "question", "description": "what is asked"}],
    "outputs": [{"name": "answer", "description": "what is answered"}],
}

COMMANDS = (
    "ping",
    "configure_lm",
    "create_program",
    "execute_program",
    "list_programs",
    "delete_program",
    "get_program_info",
    "get_stats",
    "cleanup_session",
    "cleanup",
    "reset_state",
)


def callable_program(name: str, **more: str) -> dict:
    target = f"fixture_programs:{name}"
    return {"id": name, "program_type": "callable", "callable": target, "signature": {}, **more}


def test_ping(start_bridge):
    bridge = start_bridge()
    assert bridge.succeed("ping")["status"] == "ok"


def test_programs_live_in_their_session(start_bridge):
    bridge = start_bridge()
    created = bridge.succeed("create_program", **callable_program("add"), session_id="a")
    assert created == {"program_id": "add", "status": "created"}
    result = bridge.succeed(
        "execute_program", program_id="add", inputs={"a": 1, "b": 2}, session_id="a"
    )
    assert result["program_id"] == "add"
    assert result["outputs"] == {"sum": 3}
    assert result["program_ms"] >= 0
    failed = bridge.fail("execute_program", program_id="add", inputs={}, session_id="b")
    assert failed["error_class"] == "unknown_program"
    assert bridge.succeed("list_programs", session_id="a")["total_count"] == 1
    assert bridge.succeed("list_programs", session_id="b")["total_count"] == 0
    info = bridge.succeed("get_program_info", program_id="add", session_id="a")
    assert info["execution_count"] == 1
    assert info["program_type"] == "callable"
    bridge.succeed("create_program", **callable_program("add"), session_id="b")
    bridge.succeed("cleanup_session", session_id="a")
    assert bridge.succeed("list_programs", session_id="a")["total_count"] == 0
    assert bridge.succeed("list_programs", session_id="b")["total_count"] == 1
    bridge.succeed("delete_program", program_id="add", session_id="b")
    failed = bridge.fail("delete_program", program_id="add", session_id="b")
    assert failed["error_class"] == "unknown_program"


@pytest.mark.parametrize(
    "command",
    ["create_program", "execute_program", "list_programs", "delete_program", "get_program_info"],
)
def test_a_pool_worker_needs_a_session(start_bridge, command):
    bridge = start_bridge()
    failed = bridge.fail(command, **callable_program("echo"), program_id="echo", inputs={})
    assert "session_id" in failed["error"]


def test_standalone_is_flat(start_bridge):
    bridge = start_bridge(mode="standalone")
    bridge.succeed("create_program", **callable_program("echo"))
    result = bridge.succeed(
        "execute_program", program_id="echo", inputs={"text": "x"}, session_id="any"
    )
    assert result["outputs"] == {"text": "x"}
    stats = bridge.succeed("get_stats")
    assert stats["programs_count"] == 1
    assert stats["command_count"] == 3
    assert bridge.succeed("cleanup")["programs_removed"] == 1
    assert bridge.succeed("list_programs")["total_count"] == 0
    bridge.succeed("create_program", **callable_program("echo"))
    bridge.fail("execute_program", program_id="no")
    assert bridge.succeed("reset_state")["status"] == "reset"
    stats = bridge.succeed("get_stats")
    assert (stats["programs_count"], stats["error_count"]) == (0, 0)


def test_async_callables_run(start_bridge):
    bridge = start_bridge(mode="standalone")
    bridge.succeed("create_program", **callable_program("async_echo"))
    for text in ("a", "b"):
        result = bridge.succeed("execute_program", program_id="async_echo", inputs={"text": text})
        assert result["outputs"] == {"text": text}


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
        ("add", {"a": "1", "b": 2}, "input", "InvalidInput", None),
        ("add", [], "input", "InvalidInput", None),
    ],
)
def test_failures_are_typed(start_bridge, name, inputs, kind, exception, status):
    bridge = start_bridge(mode="standalone")
    bridge.succeed("create_program", **callable_program(name))
    failed = bridge.fail("execute_program", program_id=name, inputs=inputs)
    assert failed["error_class"] == kind
    assert failed["exception"] == exception
    assert failed["status"] == status
    assert bridge.succeed("ping")["status"] == "ok"


def test_definitions_are_refused_with_a_reason(start_bridge):
    bridge = start_bridge(mode="standalone")
    refused = [
        {**callable_program("echo"), "callable": "os:getcwd"},
        callable_program("no_such_thing"),
        {"id": "x", "program_type": "dance", "signature": SIGNATURE},
        {"id": "x", "program_type": "callable"},
    ]
    for args in refused:
        failed = bridge.fail("create_program", **args)
        assert failed["error_class"] == "rejected"
    bridge.succeed("create_program", **callable_program("echo"))
    failed = bridge.fail("create_program", **callable_program("echo"))
    assert (failed["error_class"], "exists already" in failed["error"]) == ("rejected", True)
    failed = bridge.fail("create_program", program_type="callable")
    assert (failed["error_class"], "`id`" in failed["error"]) == ("input", True)


def test_unknown_commands_and_bad_args_are_answered(start_bridge):
    bridge = start_bridge()
    assert "unknown command 'dance'" in bridge.fail("dance")["error"]
    bridge.send({"id": 9, "command": "ping", "args": [1]})
    assert bridge.receive()["success"] is False
    bridge.send({"id": 10})
    answer = bridge.receive()
    assert (answer["id"], answer["success"]) == (10, False)


def test_a_key_variable_that_is_not_set_is_named(start_bridge):
    bridge = start_bridge()
    failed = bridge.fail("configure_lm", model="openai/m", api_key_env="NO_SUCH_KEY")
    assert failed["error_class"] == "rejected"
    assert "NO_SUCH_KEY" in failed["error"]
    assert bridge.fail("configure_lm")["error_class"] == "input"
    configured = bridge.succeed("configure_lm", model="gpt", provider="openai", api_key="sk-123456")
    assert configured == {"status": "configured", "model": "openai/gpt"}


def test_prints_are_log_and_stdin_is_empty(start_bridge):
    bridge = start_bridge(mode="standalone")
    for name in ("prints", "reads_stdin"):
        bridge.succeed("create_program", **callable_program(name))
    bridge.succeed("execute_program", program_id="prints", inputs={"lines": 100})
    assert "stdout line 99" in bridge.log()
    assert "stderr line 99" in bridge.log()
    result = bridge.succeed("execute_program", program_id="reads_stdin", inputs={})
    assert result["outputs"] == {"text": ""}


def test_an_answer_too_large_is_an_error(start_bridge):
    bridge = start_bridge(mode="standalone", DSPEX_MAX_FRAME="100000")
    bridge.succeed("create_program", **callable_program("huge"))
    failed = bridge.fail("execute_program", program_id="huge", inputs={"bytes": 100_000})
    assert "over the maximum of 100000" in failed["error"]
    result = bridge.succeed("execute_program", program_id="huge", inputs={"bytes": 90_000})
    assert len(result["outputs"]["text"]) == 90_000


def test_a_broken_frame_ends_the_bridge(start_bridge):
    bridge = start_bridge()
    bridge.send_body(b"junk")
    assert bridge.receive_or_end() is None
    assert bridge.exit_code() == 2
    assert "not JSON" in bridge.log()


@pytest.mark.parametrize("command", [None, LEGACY], ids=["ours", "legacy"])
class TestBothScripts:
    """What holds for any script of the protocol."""

    @pytest.mark.parametrize("mode", ["pool-worker", "standalone"])
    def test_shutdown_is_answered_and_then_done(self, start_bridge, command, mode):
        bridge = start_bridge(command, mode)
        assert bridge.succeed("ping")["status"] == "ok"
        bridge.succeed("shutdown")
        assert bridge.receive_or_end() is None
        assert bridge.exit_code() == 0

    def test_the_end_of_stdin_ends_it(self, start_bridge, command):
        bridge = start_bridge(command)
        bridge.succeed("ping")
        bridge.hang_up()
        assert bridge.exit_code() == 0

    def test_every_command_is_known(self, start_bridge, command):
        bridge = start_bridge(command, "standalone")
        for name in COMMANDS:
            answer = bridge.ask(name, session_id="s")
            assert "unknown command" not in str(answer.get("error", "")).lower(), name


def test_the_legacy_script_echoes(start_bridge):
    bridge = start_bridge(LEGACY)
    bridge.succeed("configure_lm", model="m", api_key="k", temperature=0.5, provider="p")
    created = bridge.succeed(
        "create_program", id="qa", signature=SIGNATURE, program_type="predict", session_id="s"
    )
    assert created == {"program_id": "qa", "status": "created"}
    result = bridge.succeed(
        "execute_program", program_id="qa", inputs={"question": "why"}, session_id="s"
    )
    assert result == {"program_id": "qa", "outputs": {"answer": "answer of question=why"}}
    failed = bridge.fail("execute_program", program_id="qa", inputs={}, session_id="s")
    assert set(failed) == {"id", "success", "error", "timestamp"}
    assert failed["error"] == "Missing required input: question"


def test_the_script_that_exits_at_once(start_bridge):
    bridge = start_bridge([str(FIXTURES / "exits_at_once.py")])
    assert bridge.receive_or_end() is None
    assert bridge.exit_code() == 3
    assert "cannot start" in bridge.log()


def test_the_script_that_prints_junk(start_bridge):
    bridge = start_bridge([str(FIXTURES / "prints_junk.py")])
    length = int.from_bytes(bridge.receive_bytes(4), "big")
    assert length > 64 * 1024 * 1024, "its first words are no frame that anyone would take"
    bridge.receive_bytes(len("Loading the model, this may take a while ...\n") - 4)
    assert bridge.succeed("ping")["status"] == "ok", "what follows is the protocol"
