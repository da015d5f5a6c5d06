"""The DSPy engine with the real DSPy and a language model's stand-in on loopback."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import LIMIT, environment
from stand_in import StandIn

from dspex_worker import dspy_engine, engine, errors
from dspex_worker.engine import LmProfile, Settings
from dspex_worker.errors import InvalidInput, Rejected, describe

needs_dspy = pytest.mark.skipif(engine.dspy_version() is None, reason="DSPy is not installed")
# DSPy, and what it imports, warn about themselves.
pytestmark = [needs_dspy, pytest.mark.filterwarnings("default")]


@pytest.fixture
def stand_in():
    with StandIn() as stand_in:
        yield stand_in


@pytest.fixture
def settings(stand_in, monkeypatch):
    monkeypatch.setenv("TEST_MODEL_KEY", "sk-test-123456")
    return Settings(
        allow_modules=("fixture_programs",),
        lms={
            "default": LmProfile(
                "openai/small", api_base=stand_in.address, api_key_env="TEST_MODEL_KEY"
            ),
            "warm": LmProfile(
                "openai/warm",
                api_base=stand_in.address,
                api_key_env="TEST_MODEL_KEY",
                temperature=0.5,
                max_tokens=77,
            ),
            "keyless": LmProfile("openai/own", api_base=stand_in.address),
            "unset": LmProfile("openai/m", api_key_env="NO_SUCH_KEY"),
            "cached": LmProfile("openai/cached", api_base=stand_in.address, cache=True),
        },
    )


def field(text: str) -> dict[str, str]:
    name, _, kind = text.partition(":")
    return {"name": name, "type": kind.strip() or "str"}


def definition(inputs: str = "question", outputs: str = "answer", **more) -> dict:
    signature = {
        "inputs": [field(one) for one in inputs.split(";")],
        "outputs": [field(one) for one in outputs.split(";")],
    }
    if instructions := more.pop("instructions", None):
        signature["instructions"] = instructions
    return {"kind": "dspy", "signature": signature, "module": "predict", **more}


def run(program, **inputs) -> dict:
    program.check(inputs)
    return program.outputs(program.call(inputs))


def refusal(settings, **given) -> str:
    with pytest.raises(Rejected) as refused:
        engine.build(definition(**given), settings)
    return str(refused.value)


def test_predict(stand_in, settings):
    program = engine.build(definition(instructions="Answer in one word."), settings)
    assert run(program, question="why?") == {"answer": "answer of why?"}
    assert stand_in.authorizations == ["Bearer sk-test-123456"]
    assert stand_in.requests[0]["model"] == "small"
    assert "Answer in one word." in stand_in.requests[0]["messages"][0]["content"]


def test_chain_of_thought_answers_its_reasoning_too(settings):
    program = engine.build(definition(module="chain_of_thought"), settings)
    outputs = run(program, question="why?")
    assert list(outputs) == ["reasoning", "answer"]
    assert outputs["answer"] == "answer of why?"


def test_outputs_have_the_declared_types(stand_in, settings):
    stand_in.values = {"n": "42", "words": '["a", "b"]', "counts": '{"x": 1}', "kind": "good"}
    outputs = "n: int;words: list[str];counts: dict[str, int];kind: Literal['good', 'bad']"
    program = engine.build(definition(outputs=outputs), settings)
    answered = {"n": 42, "words": ["a", "b"], "counts": {"x": 1}, "kind": "good"}
    assert run(program, question="why?") == answered


@pytest.mark.parametrize("tool", ["echo", "async_echo"])
def test_react_calls_its_tools(stand_in, settings, tool):
    target = f"fixture_programs:{tool}"
    program = engine.build(definition(module="react", tools=[target]), settings)
    turns = iter([tool, "finish"])

    def choose(_request: dict) -> str:
        chosen = next(turns, None)
        if chosen is None:
            return "[[ ## reasoning ## ]]\nr\n\n[[ ## answer ## ]]\ndone\n\n[[ ## completed ## ]]"
        arguments = '{"text": "ping"}' if chosen == tool else "{}"
        return (
            f"[[ ## next_thought ## ]]\nt\n\n[[ ## next_tool_name ## ]]\n{chosen}\n\n"
            f"[[ ## next_tool_args ## ]]\n{arguments}\n\n[[ ## completed ## ]]"
        )

    stand_in.text = choose
    program.check({"question": "why?"})
    prediction = program.call({"question": "why?"})
    assert prediction.trajectory["observation_0"] == {"text": "ping"}
    assert program.outputs(prediction) == {"answer": "done"}


def test_the_named_profile_is_used(stand_in, settings):
    run(engine.build(definition(lm="warm"), settings), question="why?")
    sent = stand_in.requests[0]
    assert (sent["model"], sent["temperature"], sent["max_completion_tokens"]) == ("warm", 0.5, 77)


def test_a_server_without_a_key_is_not_sent_the_providers_key(stand_in, settings, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-provider")
    run(engine.build(definition(lm="keyless"), settings), question="why?")
    assert stand_in.authorizations == ["Bearer none"]


def test_answers_are_cached_only_where_the_profile_says_so(stand_in, settings):
    program = engine.build(definition(), settings)
    for _ in range(3):
        run(program, question="why?")
    assert len(stand_in.requests) == 3
    program = engine.build(definition(lm="cached"), settings)
    for _ in range(3):
        run(program, question="why?")
    assert len(stand_in.requests) == 4


def test_nothing_is_kept_of_calls(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    program = engine.build(definition(), settings)
    for _ in range(3):
        run(program, question="why?")
    from dspy.clients import base_lm

    dspy = dspy_engine.load()
    assert base_lm.GLOBAL_HISTORY == []
    assert dspy.settings.trace == []
    assert dspy.cache.disk_cache == {}
    assert all(lm.history == [] for lm in dspy_engine._lms.values())
    assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"
    assert list(tmp_path.iterdir()) == []


def test_no_metadata_is_fetched_from_the_network(settings, monkeypatch):
    """DSPy's own fetch is replaced by one that fails the test."""
    from dspy.clients import model_metadata

    fetched: list[object] = []
    monkeypatch.setattr(model_metadata, "_data", None)
    monkeypatch.setattr(model_metadata.urllib.request, "urlopen", fetched.append)
    run(engine.build(definition(), settings), question="why?")
    assert model_metadata.source_info()["source"] == "local"
    assert fetched == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"lm": "other"}, "LM profile 'other' is not configured; configured are: cached, default"),
        ({"lm": "unset"}, "environment variable NO_SUCH_KEY, which is not set"),
        ({"module": "program_of_thought"}, "module 'program_of_thought' is unknown"),
        ({"tools": ["fixture_programs:echo"]}, "takes no tools"),
        ({"module": "react", "tools": ["os:getcwd"]}, "not on the list of allowed"),
        ({"inputs": "a;a"}, "'a' stands there twice"),
        ({"inputs": "x", "outputs": "x"}, "'x' is an input and an output"),
        ({"inputs": "q: strr"}, "signature field 'q': type 'strr' is not known"),
        ({"inputs": "q: __import__('os').getcwd()"}, "signature field 'q'"),
        ({"inputs": "not a name"}, "Python identifier"),
        ({"inputs": "config"}, "'config' has a name that DSPy uses itself"),
        ({"inputs": "lm"}, "'lm' has a name that DSPy uses itself"),
        ({"inputs": "demos"}, "'demos' has a name that DSPy uses itself"),
        ({"outputs": "signature"}, "'signature' has a name that DSPy uses itself"),
        ({"outputs": "completed"}, "'completed' has a name that DSPy uses itself"),
        ({"outputs": "_hidden"}, "'_hidden' has a name that DSPy uses itself"),
        ({"inputs": "reasoning", "module": "chain_of_thought"}, "'reasoning' has a name"),
        ({"outputs": "next_thought", "module": "react"}, "'next_thought' has a name"),
    ],
)
def test_definitions_are_refused_with_a_reason(settings, given, said):
    assert said in refusal(settings, **given)


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "question -> answer",
        {},
        {"inputs": [], "outputs": [{"name": "a"}]},
        {"inputs": [{"name": "q"}]},
        {"inputs": ["q"], "outputs": [{"name": "a"}]},
        {"inputs": [{"name": 5}], "outputs": [{"name": "a"}]},
        {"inputs": [{"name": "q", "type": 5}], "outputs": [{"name": "a"}]},
    ],
)
def test_what_is_no_signature_is_refused(settings, signature):
    with pytest.raises(Rejected):
        engine.build({"kind": "dspy", "signature": signature}, settings)


def test_the_message_about_a_key_never_holds_its_value(settings, stand_in):
    stand_in.status = 401
    stand_in.body = lambda _request: b'{"error": {"message": "bad key sk-test-123456"}}'
    with pytest.raises(Exception) as raised:  # noqa: PT011  (whatever DSPy raises)
        run(engine.build(definition(), settings), question="why?")
    told = describe(raised.value)
    assert "sk-test-123456" not in str(told)
    assert (told["class"], told["status"]) == ("provider", 401)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "'q' of type str is missing"),
        ({"q": 1, "n": 1}, "'q' must be of type str, not int"),
        ({"q": "a", "n": "1"}, "'n' must be of type list[int] | int, not str"),
        ({"q": "a", "n": 1, "x": 1}, "'x' is unknown: the program takes q, n, o"),
    ],
)
def test_inputs_are_checked_before_the_model_is_asked(settings, stand_in, inputs, said):
    program = engine.build(definition(inputs="q;n: list[int] | int;o: Optional[str]"), settings)
    with pytest.raises(InvalidInput) as refused:
        program.check(inputs)
    assert said in str(refused.value)
    program.check({"q": "a", "n": [1]})
    assert stand_in.requests == []


@pytest.mark.parametrize(
    ("status", "kind", "told_status"),
    [(429, "provider", 429), (401, "provider", 401), (400, "program", None)],
)
def test_failures_of_the_provider_are_told_apart(settings, stand_in, status, kind, told_status):
    stand_in.status = status
    program = engine.build(definition(), settings)
    with pytest.raises(Exception) as raised:  # noqa: PT011  (whatever DSPy raises)
        run(program, question="why?")
    told = describe(raised.value)
    assert (told["class"], told["status"]) == (kind, told_status)
    assert len(stand_in.requests) == (1 + dspy_engine.RETRIES if status == 429 else 1)


def test_a_provider_that_cannot_be_reached(monkeypatch):
    monkeypatch.setattr(dspy_engine, "RETRIES", 0)
    monkeypatch.setattr(dspy_engine, "_lms", {})
    with StandIn() as gone:
        address = gone.address
    settings = Settings(lms={"default": LmProfile("openai/m", api_base=address)})
    with pytest.raises(Exception) as raised:  # noqa: PT011  (whatever DSPy raises)
        run(engine.build(definition(), settings), question="why?")
    assert errors.classify(raised.value) == ("provider", None)


def test_an_answer_that_does_not_fit_is_the_programs_fault(settings, stand_in):
    stand_in.values = {"answer": "no number"}
    with pytest.raises(Exception) as raised:  # noqa: PT011  (whatever DSPy raises)
        run(engine.build(definition(outputs="answer: int"), settings), question="why?")
    assert describe(raised.value)["class"] == "program"
    assert describe(raised.value)["exception"] == "AdapterParseError"


def lm_of(stand_in) -> dict:
    return {"model": "openai/m", "api_base": stand_in.address, "api_key_env": "TEST_MODEL_KEY"}


def test_a_worker_runs_dspy_on_several_threads(start_worker, stand_in):
    worker = start_worker(TEST_MODEL_KEY="sk-test-123456")
    lms = {"default": {**lm_of(stand_in), "cache": False}}
    assert worker.configure(4, lms=lms, preload=["dspy"]) == {"type": "ready"}
    for module in ("predict", "chain_of_thought"):
        assert worker.define(module, definition(module=module))["type"] == "result"
    sent = {
        worker.send_call(module, question=f"q{n}"): f"answer of q{n}"
        for n in range(20)
        for module in ("predict", "chain_of_thought")
    }
    for _ in sent:
        answer = worker.receive()
        assert answer["outputs"]["answer"] == sent[answer["id"]], "each its own answer"
        assert answer["program_ms"] > 0


def test_an_answer_says_what_its_own_model_calls_used(start_worker, stand_in):
    worker = start_worker(TEST_MODEL_KEY="sk-test-123456")
    lms = {"default": lm_of(stand_in), "kept": {**lm_of(stand_in), "cache": True}}
    worker.configure(4, lms=lms, preload=["dspy"])
    # The stand-in counts 1 token there and 1 back for each model call.
    one = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    two = {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    worker.define("predict", definition())
    worker.define("react", definition(module="react", tools=["fixture_programs:echo"]))
    worker.define("kept", definition(lm="kept"))
    worker.define("callable", {"kind": "callable", "target": "fixture_programs:echo"})
    stand_in.values = {"next_tool_name": "finish", "next_tool_args": "{}"}
    stand_in.delay = 0.05  # so that calls are under way together,
    stand_in.meet = 2  # two of them at least, on a busy machine too
    sent = {}
    for n in range(8):
        sent[worker.send_call("predict", question=f"q{n}")] = one
        # An agent that finishes at once asks twice: for its step, and for the answer.
        sent[worker.send_call("react", question=f"q{n}")] = two
    for _ in sent:
        answer = worker.receive()
        assert answer["usage"] == sent[answer["id"]], "its own, and nobody else's"
    assert stand_in.most_at_once > 1
    assert worker.call("kept", question="why?")["usage"] == one
    assert "usage" not in worker.call("kept", question="why?"), "the cache asked nobody"
    assert "usage" not in worker.call("callable", text="x")


def test_the_bridge_gives_the_same_outputs(start_bridge, stand_in):
    bridge = start_bridge(TEST_MODEL_KEY="sk-test-123456")
    signature = definition()["signature"]
    for module in ("predict", "chain_of_thought"):
        bridge.succeed(
            "create_program", id=module, signature=signature, program_type=module, session_id="s"
        )
        failed = bridge.fail(
            "execute_program", program_id=module, inputs={"question": "x"}, session_id="s"
        )
        assert "no LM is configured" in failed["error"] or module != "predict"
        bridge.succeed("configure_lm", **lm_of(stand_in))
        result = bridge.succeed(
            "execute_program", program_id=module, inputs={"question": "why?"}, session_id="s"
        )
        assert result["outputs"]["answer"] == "answer of why?"
        assert ("reasoning" in result["outputs"]) == (module == "chain_of_thought")
        bridge.succeed("reset_state")


def test_the_bridge_follows_a_new_lm(start_bridge, stand_in):
    bridge = start_bridge(mode="standalone", TEST_MODEL_KEY="sk-test-123456")
    signature = definition()["signature"]
    bridge.succeed("create_program", id="qa", signature=signature)
    for model in ("first", "second"):
        bridge.succeed("configure_lm", **{**lm_of(stand_in), "model": f"openai/{model}"})
        bridge.succeed("execute_program", program_id="qa", inputs={"question": "x"})
    assert [request["model"] for request in stand_in.requests] == ["first", "second"]


def test_the_package_itself_does_not_import_dspy():
    code = (
        "import sys, dspex_worker.server, dspex_worker.bridge, dspex_worker.dspy_engine;"
        "sys.exit('dspy' in sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment(), check=False, timeout=LIMIT
    )
    assert ended.returncode == 0


def test_a_session_may_last_for_ever_and_its_state_does_not_grow(settings):
    for module in ("predict", "chain_of_thought", "react"):
        program = engine.build(definition(module=module), settings, stateful=True)
        state, first = None, None
        for _ in range(300):
            with program.session(state) as instance:
                state = instance.dump_state()
            first = first or state
        assert state == first
