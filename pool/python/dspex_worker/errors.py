"""What can go wrong with a request, and how an exception becomes an error frame.

Invariants: every failure has one class word, blame is laid precisely (caller, provider, program or
worker), and the text of a failure is bounded and holds no configured key.
"""

from __future__ import annotations

import traceback
from typing import Any, ClassVar

MESSAGE_LIMIT = 4_000
TRACEBACK_LIMIT = 16_000

# Values that must not leave the process inside a message: the keys of LM profiles in use.
_secrets: set[str] = set()


class Failure(Exception):
    """A failure that this package found by itself; its text is written for the caller."""

    kind: ClassVar[str] = "worker"


class InvalidInput(Failure):
    """The inputs do not fit the program."""

    kind = "input"


class Rejected(Failure):
    """The definition cannot be built."""

    kind = "rejected"


class UnknownProgram(Failure):
    """No program is defined under the name."""

    kind = "unknown_program"


class Cancelled(Failure):
    """The caller has left."""

    kind = "cancelled"


class BadOutput(Failure):
    """The program answered something that cannot be sent."""

    kind = "program"


# Packages whose errors below mean that the provider, or the way to it, failed.
_CLIENTS = frozenset({"anthropic", "dspy", "httpcore", "httpx", "litellm", "openai"})
_CLIENT_ERRORS = frozenset(
    {
        "APIConnectionError",
        "APIError",
        "APIStatusError",
        "HTTPStatusError",
        "LMProviderError",
        "LMTransportError",
        "NetworkError",
        "TimeoutException",
        "TransportError",
    }
)
# Names that mean the same in any client, provided that the error also carries an HTTP status.
_ERRORS_WITH_STATUS = frozenset(
    {
        "APIConnectionError",
        "APIError",
        "APIStatusError",
        "APITimeoutError",
        "BadGatewayError",
        "InternalServerError",
        "RateLimitError",
        "ServiceUnavailableError",
    }
)
# The request itself was refused: a fault of what the program sent, not of the provider.
_REQUEST_REFUSED = frozenset({400, 404, 405, 406, 409, 410, 411, 413, 414, 415, 422})


def keep_secret(value: str) -> None:
    """Blanks the value in every later failure. Very short values would blank ordinary words."""
    if len(value) >= 6:
        _secrets.add(value)


def describe(error: BaseException) -> dict[str, Any]:
    """The error object of an error frame."""
    kind, status = classify(error)
    trace = None
    if not isinstance(error, Failure):
        trace = _bounded("".join(_format(error)), TRACEBACK_LIMIT, keep_end=True)
    return {
        "class": kind,
        "exception": type(error).__name__,
        "message": _bounded(_text(error), MESSAGE_LIMIT),
        "traceback": trace,
        "status": status,
    }


def classify(error: BaseException) -> tuple[str, int | None]:
    """The class word, and the provider's HTTP status where it is known."""
    if isinstance(error, Failure):
        return error.kind, None
    # DSPy wraps what its own engine does not know; the cause tells what it was.
    wrapped = type(error).__name__ == "LMUnexpectedError" and error.__cause__ is not None
    found = error.__cause__ if wrapped and error.__cause__ else error
    status = _status(found)
    if _is_client_error(found, status) and status not in _REQUEST_REFUSED:
        return "provider", status
    if any(cls.__name__ == "LMConfigurationError" for cls in type(error).__mro__):
        return "rejected", None
    return "program", None


def _is_client_error(error: BaseException, status: int | None) -> bool:
    for cls in type(error).__mro__:
        name = cls.__name__
        if name in _CLIENT_ERRORS and cls.__module__.partition(".")[0] in _CLIENTS:
            return True
        if status is not None and name in _ERRORS_WITH_STATUS:
            return True
    return False


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    for owner in (error, response):
        for name in ("status_code", "status"):
            value = getattr(owner, name, None)
            if type(value) is int and 100 <= value <= 599:
                return value
    return None


def _format(error: BaseException) -> list[str]:
    try:
        return traceback.format_exception(type(error), error, error.__traceback__)
    except Exception as broken:  # an exception may fail to show itself
        return [f"{type(error).__name__} (its traceback cannot be shown: {broken!r})"]


def _text(error: BaseException) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception as broken:
        return f"{type(error).__name__} (its text cannot be shown: {type(broken).__name__})"


def _bounded(text: str, limit: int, *, keep_end: bool = False) -> str:
    for secret in _secrets:
        text = text.replace(secret, "***")
    # A lone surrogate is no UTF-8, so it could not be sent.
    text = text.encode("utf-8", "replace").decode("utf-8")
    if len(text) <= limit:
        return text
    return "… " + text[-limit:] if keep_end else text[:limit] + " …"
