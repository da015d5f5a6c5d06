"""The programs that the benchmark has dspex run.

Invariant: nothing here asks a network. The language model is one that answers in this process, so
that what is measured is the pool and DSPy, and not a model.
"""

from __future__ import annotations

import gc
import threading
import time
from typing import Any

_lock = threading.Lock()
_predict: Any = None
_lm: Any = None


def echo(text: str) -> dict[str, str]:
    """The input, as the output."""
    return {"text": text}


def wait(seconds: float) -> dict[str, float]:
    """Waits as a call of a language model does, in a thread that holds no lock meanwhile."""
    time.sleep(seconds)
    return {"waited": seconds}


def predict(question: str) -> dict[str, str]:
    """One `dspy.Predict` on a language model that answers at once, in this process."""
    import dspy

    module, lm = _module()
    with dspy.context(lm=lm, disable_history=True, max_history_size=0, trace=None):
        return {"answer": module(question=question).answer}


def collect() -> dict[str, int]:
    """A full collection of garbage, so that what is still held is held for a reason."""
    return {"unreachable": gc.collect()}


def _module() -> tuple[Any, Any]:
    global _predict, _lm  # noqa: PLW0603  (one module for the process, guarded by the lock)
    with _lock:
        if _predict is None:
            import dspy
            from dspy.utils import DummyLM

            # Answers every prompt in which the key stands, and a prompt names its fields.
            _lm = DummyLM({"question": {"answer": "an answer of a few words"}})
            _predict = dspy.Predict("question -> answer")
        return _predict, _lm
