"""One DSPy module and the LM it asks: called, streamed, and moved from worker to worker.

Invariants: DSPy's settings are set inside each call, because threads do not inherit them, and are
seen by no other call. The LM is the configured one: no state brings another, and none takes a key
out. A session's module serves one call and is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from .engine import Send
from .errors import Failure
from .usage import note


class BadState(Failure):
    """A session's state does not fit the program."""

    kind = "program"


class DspyModule:
    """A module. Several threads may call it at once, as long as its state is left alone."""

    def __init__(
        self, dspy: Any, module: Any, find_lm: Callable[[], Any], texts: list[str]
    ) -> None:
        self._dspy = dspy
        self._module = module
        self._find_lm = find_lm
        # Output fields that are text: the ones that can be told while the LM writes them.
        self._texts = texts
        # An agent's steps are made of LM calls and tools that would hold up the event loop.
        self.streams = bool(texts) and not isinstance(module, dspy.ReAct)

    def call(self, inputs: dict[str, Any]) -> Any:
        """Asks the LM, and returns DSPy's prediction."""
        with self._settings(), self._dspy.track_usage() as tracker:
            prediction = self._module(**inputs)
        note(tracker.get_total_tokens())
        return prediction

    async def stream(self, inputs: dict[str, Any], send: Send) -> Any:
        """The same, with `{"field", "text"}` for each piece of text that the LM writes."""
        streaming = self._dspy.streaming
        listeners = [streaming.StreamListener(signature_field_name=name) for name in self._texts]
        streamed = self._dspy.streamify(
            self._module, stream_listeners=listeners, is_async_program=True
        )
        prediction = None
        with self._settings(), self._dspy.track_usage() as tracker:
            async with aclosing(streamed(**inputs)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, self._dspy.Prediction):
                        prediction = piece
                    elif isinstance(piece, streaming.StreamResponse) and piece.chunk:
                        await send({"field": piece.signature_field_name, "text": piece.chunk})
        note(tracker.get_total_tokens())
        return prediction

    def dump_state(self) -> dict[str, Any]:
        """The predictors' demonstrations and signatures, by predictor."""
        state = {}
        for name, predictor in self._module.named_parameters():
            state[name] = {**predictor.dump_state(), "lm": None}
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes a state that was dumped, once. Raises `BadState`."""
        # A second time, DSPy would wrap the signature's fields once more, and so on until they are
        # too deep to be copied.
        try:
            # Not the whole module's `load_state`: that tries it on a deep copy first, to keep a
            # module that this one may spoil.
            for name, predictor in self._module.named_parameters():
                predictor.load_state({**state[name], "lm": None})
        except Exception as error:
            raise BadState(
                f"the session's state does not fit the program: {type(error).__name__}: {error}"
            ) from error

    def copy(self) -> DspyModule:
        """A module of its own, which asks the same LM."""
        return DspyModule(self._dspy, self._module.deepcopy(), self._find_lm, self._texts)

    def _settings(self) -> Any:
        return self._dspy.context(
            lm=self._find_lm(),
            disable_history=True,
            max_history_size=0,
            trace=None,
            # Inputs have been checked here; DSPy's warning would only log the caller's data.
            warn_on_type_mismatch=False,
            allow_tool_async_sync_conversion=True,
        )
