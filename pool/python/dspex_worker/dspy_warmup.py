"""DSPy made ready to be forked: what its first call would load and look up is there before.

Invariants: no language model is asked and nothing leaves the process, so no connection can be
shared by two workers; what this DSPy does not have is left out, and said in the log.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

from .dspy_engine import load
from .log import log

# Loaded by DSPy 3.4 at its first real call.
_LATE_MODULES = (
    "difflib",
    "dspy._vendor.lm15.cloud.hosts",
    "dspy._vendor.lm15.cloud.sigv4",
    "dspy._vendor.lm15.transports",
    "dspy.clients.costs",
    "dspy.streaming",
)
# Any model; the rehearsal is answered by a text of our own.
_MODEL = "openai/gpt-4o-mini"
_REHEARSALS = 10


def warm_dspy() -> None:
    """Sets DSPy up and rehearses its calls."""
    dspy = load()
    for step in (_import_late, _settle_metadata, _predict_with_dummy, _predict_with_wire):
        try:
            step(dspy)
        except Exception as error:
            log(f"this DSPy is not warmed by {step.__name__}: {type(error).__name__}: {error}")


def _import_late(_dspy: Any) -> None:
    for name in _LATE_MODULES:
        importlib.import_module(name)


def _settle_metadata(_dspy: Any) -> None:
    """Reads the bundled model metadata, which else each worker reads for itself.

    Each look into it goes through thousands of entries and counts references in every one. Made
    anew one after the other, they lie together, and a worker copies less of what it only reads.
    """
    # Where an operator wants the current list instead, it is fetched by whoever needs it.
    if os.environ.get("LITELLM_LOCAL_MODEL_COST_MAP", "").lower() != "true":
        return
    from dspy.clients import model_metadata

    model_metadata.source_info()
    given = getattr(model_metadata, "_data", None)
    if isinstance(given, dict):
        model_metadata._data = {  # noqa: SLF001  (equal to what was there)
            (name + " ")[:-1]: _anew(entry) for name, entry in given.items()
        }
    for model in (_MODEL.partition("/")[2], "unknown"):
        model_metadata.model_info("openai", model)


def _anew(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    return {
        sys.intern(name): sys.intern(value) if type(value) is str else value
        for name, value in entry.items()
    }


def _predict_with_dummy(dspy: Any) -> None:
    from dspy.utils import DummyLM

    answers = [{"reasoning": "none", "answer": "none"}] * 4
    with _context(dspy, DummyLM(answers)):
        for module in (dspy.Predict, dspy.ChainOfThought):
            module("question -> answer")(question="none")


def _predict_with_wire(dspy: Any) -> None:
    """All of a real call but the connection: an answer is handed to DSPy where it would read it."""
    from dspy._vendor.lm15.testing import FakeResponse, FakeTransport
    from dspy.clients.engines.lm15_engine import LM15Engine
    from dspy.lm15 import RouterConfig

    message = {"role": "assistant", "content": "[[ ## answer ## ]]\nnone\n\n[[ ## completed ## ]]"}
    body = json.dumps(
        {
            "id": "rehearsal",
            "object": "chat.completion",
            "created": 0,
            "model": "rehearsal",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
    ).encode()
    transport = FakeTransport([FakeResponse(200, body=body) for _ in range(_REHEARSALS)])
    engine = LM15Engine(RouterConfig(transport=transport, api_keys={"openai": "none"}))
    predict = dspy.Predict("question -> answer")
    with _context(dspy, dspy.LM(_MODEL, engine=engine, cache=False, num_retries=0)):
        for _ in range(_REHEARSALS):
            predict(question="none")
    engine.close()


def _context(dspy: Any, lm: Any) -> Any:
    return dspy.context(lm=lm, disable_history=True, max_history_size=0, trace=None)
