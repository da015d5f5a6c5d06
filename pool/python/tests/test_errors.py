"""Blame: which class word an exception gets, and what its text may hold."""

from __future__ import annotations

import pytest

from dspex_worker import errors
from dspex_worker.errors import Cancelled, InvalidInput, Rejected, UnknownProgram, describe


def client_error(name: str, module: str = "openai", bases: tuple = (Exception,), **attributes):
    return type(name, bases, {"__module__": module, **attributes})("refused")


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (client_error("RateLimitError", "anywhere", status_code=429), "provider", 429),
        (client_error("RateLimitError", "anywhere"), "program", None),
        (client_error("InternalServerError", "mine", status_code=503), "provider", 503),
        (client_error("APIStatusError", status_code=500), "provider", 500),
        (client_error("APIStatusError", status_code=401), "provider", 401),
        (client_error("APIStatusError", status_code=400), "program", None),
        (client_error("APIStatusError", status_code=404), "program", None),
        (client_error("APIConnectionError"), "provider", None),
        (client_error("APIConnectionError", "mine"), "program", None),
        (client_error("TransportError", "httpx._exceptions"), "provider", None),
        (client_error("LMTransportError", "dspy.utils.exceptions"), "provider", None),
        (client_error("LMProviderError", "dspy.utils.exceptions", status=529), "provider", 529),
        (client_error("AdapterParseError", "dspy.utils.exceptions"), "program", None),
        (client_error("NotConfigured", bases=(client_error("LMConfigurationError").__class__,)),
         "rejected", None),
        (client_error("APIStatusError", status_code="429"), "provider", None),
        (ValueError("x"), "program", None),
        (TimeoutError("x"), "program", None),
        (ConnectionError("x"), "program", None),
        (SystemExit(3), "program", None),
        (InvalidInput("x"), "input", None),
        (Rejected("x"), "rejected", None),
        (UnknownProgram("x"), "unknown_program", None),
        (Cancelled("x"), "cancelled", None),
    ],
)  # fmt: skip
def test_classes(error, kind, status):
    told = describe(error)
    assert (told["class"], told["status"]) == (kind, status)
    assert told["exception"] == type(error).__name__


def test_a_subclass_of_a_client_error_is_one():
    parent = type(client_error("APIConnectionError"))
    child = type("APITimeoutError", (parent,), {"__module__": "litellm.exceptions"})
    assert describe(child("slow"))["class"] == "provider"


def test_the_status_may_stand_in_the_response():
    response = type("Response", (), {"status_code": 502})()
    error = client_error("HTTPStatusError", "httpx", response=response)
    assert describe(error)["status"] == 502


def test_what_dspy_wraps_is_judged_by_its_cause():
    wrapped = client_error("LMUnexpectedError", "dspy.utils.exceptions")
    wrapped.__cause__ = client_error("RateLimitError", "litellm.exceptions", status_code=429)
    assert describe(wrapped)["class"] == "provider"
    wrapped.__cause__ = ValueError("bug")
    assert describe(wrapped)["class"] == "program"


def test_only_what_a_program_raised_has_a_traceback():
    try:
        raise KeyError("lost")
    except KeyError as raised:
        told = describe(raised)
    assert "test_errors.py" in told["traceback"]
    assert "KeyError: 'lost'" in told["traceback"]
    assert describe(InvalidInput("x"))["traceback"] is None


def test_texts_are_bounded():
    told = describe(ValueError("x" * 1_000_000))
    assert len(told["message"]) <= errors.MESSAGE_LIMIT + 2
    assert len(told["traceback"]) <= errors.TRACEBACK_LIMIT + 2


def test_texts_can_always_be_sent():
    told = describe(ValueError("\ud800"))
    told["message"].encode()
    told["traceback"].encode()


def test_an_exception_that_cannot_show_itself_is_told():
    class Broken(Exception):
        def __str__(self):
            raise RuntimeError

    told = describe(Broken())
    assert told["exception"] == "Broken"
    assert "cannot be shown" in told["message"]


def test_an_empty_text_is_replaced_by_the_name():
    assert describe(AssertionError())["message"] == "AssertionError"


def test_keys_are_blanked(monkeypatch):
    monkeypatch.setattr(errors, "_secrets", set())
    errors.keep_secret("sk-very-secret")
    errors.keep_secret("a")
    try:
        raise ValueError("key sk-very-secret was refused")
    except ValueError as raised:
        told = describe(raised)
    assert told["message"] == "key *** was refused"
    assert "sk-very-secret" not in told["traceback"]
