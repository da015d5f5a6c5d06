"""The demo's own Python: what the stand-in answers, and what the callable makes of a question."""

import http.client
import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import demo_programs
import drill_programs
import faults
import lm_standin

HERE = Path(__file__).parent
QUESTION = "What is the capital of France?"
FIELDS = (
    f"[[ ## question ## ]]\n{QUESTION}\n\n"
    "Respond with the corresponding output fields, starting with the field "
)


@pytest.fixture
def answers() -> lm_standin.Answers:
    return lm_standin.Answers(HERE / "questions.jsonl")


def test_fields_are_answered_under_their_markers(answers: lm_standin.Answers) -> None:
    asked = "`[[ ## answer ## ]]`, and then ending with the marker for `[[ ## completed ## ]]`."
    text = answers.complete(FIELDS + asked)
    assert text == "[[ ## answer ## ]]\nParis\n\n[[ ## completed ## ]]"
    text = answers.complete(FIELDS + "`[[ ## reasoning ## ]]`, then " + asked)
    assert text.startswith("[[ ## reasoning ## ]]\n")
    assert "[[ ## answer ## ]]\nParis\n" in text


def test_json_is_answered_where_json_is_asked_for(answers: lm_standin.Answers) -> None:
    asked = "Respond with a JSON object in the following order of fields: `answer`."
    text = answers.complete(f"[[ ## question ## ]]\n{QUESTION}\n\n{asked}")
    assert json.loads(text) == {"answer": "Paris"}


def test_an_unknown_question_is_admitted(answers: lm_standin.Answers) -> None:
    assert "I do not know" in answers.complete("[[ ## question ## ]]\nWhat is dspex?\n")


def test_the_delay_depends_on_the_prompt_alone() -> None:
    delays = {lm_standin.delay(f"question {n}") for n in range(200)}
    assert len(delays) > 100
    assert 0.019 < min(delays) < max(delays) < 0.061
    assert lm_standin.delay("same") == lm_standin.delay("same")


@pytest.fixture
def standin() -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, HERE / "lm_standin.py", "--answers", HERE / "questions.jsonl"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        yield process, json.loads(process.stdout.readline())["port"]
        process.kill()


def test_it_serves_chat_completions_and_ends_with_its_input(
    standin: tuple[subprocess.Popen[str], int],
) -> None:
    process, port = standin
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def post(path: str, body: str) -> tuple[int, dict[str, object]]:
        connection.request("POST", path, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    chat = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]})
    status, answer = post("/v1/chat/completions", chat)
    assert status == 200
    assert answer["choices"][0]["message"]["role"] == "assistant"
    # The same connection goes on after what cannot be answered.
    assert post("/v1/chat/completions", "nonsense")[0] == 400
    assert post("/v1/chat/completions", "{}")[0] == 400
    assert post("/v1/embeddings", chat)[0] == 404
    # What is no request is not counted as one.
    other = json.dumps({"model": "another", "messages": [{"role": "user", "content": "hello"}]})
    assert post("/v1/chat/completions", other)[1]["model"] == "another"
    connection.request("GET", "/v1/standin/asked")
    assert json.loads(connection.getresponse().read()) == {"m": 1, "another": 1}
    # An outage begins and ends when it is told to.
    for status in (500, 429, None):
        connection.request("PUT", "/v1/standin/outage", json.dumps({"status": status}))
        assert connection.getresponse().read()
        assert post("/v1/chat/completions", chat)[0] == (status or 200)
    connection.close()

    assert process.stdin
    process.stdin.close()
    assert process.wait(timeout=60) == 0


def test_triage_finds_the_topic_and_counts_words() -> None:
    result = demo_programs.triage(QUESTION)
    assert (result["topic"], result["words"]) == ("geography", 6)
    assert result == demo_programs.triage(QUESTION)
    assert demo_programs.triage("Well?")["topic"] == "other"


def test_faults_kill_and_unknown_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import demo_programs; demo_programs.triage('x')"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=HERE, env={"DEMO_FAULT": "crash=1"}, check=False
    )
    assert ended.returncode == 70
    monkeypatch.setenv("DEMO_FAULT", "stall=0,melt=1")
    with pytest.raises(ValueError, match="melt"):
        demo_programs.triage("x")


def test_faults_follow_their_file_and_the_first_one_is_noted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "faults"
    monkeypatch.setenv("DRILL_FAULT_FILE", str(path))
    note = tmp_path / "faults.first"
    demo_programs.triage("there is no file yet")
    path.write_text("raise=0,slow=0")
    demo_programs.triage("nothing is to happen")
    assert not note.exists()
    path.write_text("raise=1")
    with pytest.raises(faults.InjectedFault):
        demo_programs.triage("x")
    first = float(note.read_text())
    assert first > 0
    with pytest.raises(faults.InjectedFault):
        drill_programs.Tally()()
    assert float(note.read_text()) == first
    path.write_text("")
    demo_programs.triage("it is well again")


def test_each_order_leaves_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DRILL_ORDERS", str(tmp_path / "orders"))
    for key in ("a", "b", "a"):
        assert drill_programs.order(key) == {"key": key}
    assert (tmp_path / "orders").read_text().split() == ["a", "b", "a"]


def test_a_worker_tells_which_dspy_it_runs_on() -> None:
    told = drill_programs.engine()
    assert told == {"dspy": importlib.metadata.version("dspy"), "environment": sys.prefix}


def test_a_session_counts_on_from_its_state() -> None:
    first = drill_programs.Tally()
    assert (first()["calls"], first()["calls"]) == (1, 2)
    second = drill_programs.Tally()
    second.load_state(first.dump_state())
    assert second()["calls"] == 3
