"""A session of a stateful DSPy program: what was asked and answered before is said again.

Invariants: the turns are given to the module by its signature's field `dspex_history`, which no
caller can set; a turn is remembered as the program answered it, and only where the call succeeded;
turns are bounded in number and size, the oldest forgotten first.
"""

from __future__ import annotations

import json
from typing import Any

from .dspy_module import BadState, DspyModule
from .engine import Instance, Send
from .log import log

# No signature of a stateful program may have a field of this name.
HISTORY = "dspex_history"
# All of them stand in every prompt of the session. Twenty are a long conversation, and 64 KiB are
# some 16,000 tokens, which the context windows of today's models hold with room to spare.
MOST_TURNS = 20
MOST_BYTES = 64 * 1024

Turn = dict[str, Any]


def history_field(dspy: Any, kind: str) -> tuple[Any, Any]:
    """The type and the field by which a module of this kind sees the turns.

    `dspy.History` becomes messages, with each turn's outputs as the signature's. An agent's steps
    have outputs of their own, and its turns would read as steps that answered `None`: it is given
    plain data.
    """
    described = dspy.InputField(desc="the earlier turns of this conversation, the oldest first")
    return (list[dict[str, Any]] if kind == "react" else dspy.History), described


class DspySession(Instance):
    """A module of its own and the session's turns, for one call."""

    def __init__(
        self, dspy: Any, module: DspyModule, kind: str, answered: list[str], state: Any
    ) -> None:
        """Takes a state that `dump_state` told, or None. Raises `BadState`."""
        self._module = module
        self._answered = answered
        self._turns: list[Turn] = []
        if state is not None:
            self._load(state)
        turns = list(self._turns)
        self._history = turns if kind == "react" else dspy.History(messages=turns)
        self.streams = module.streams

    def _load(self, state: Any) -> None:
        turns = state.get("history") if isinstance(state, dict) else None
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
            raise BadState("the session's state does not fit the program: it holds no `history`")
        self._turns = turns
        self._module.load_state(state.get("module"))

    def call(self, inputs: dict[str, Any]) -> Any:
        """Asks the LM, with the turns before this one."""
        prediction = self._module.call({**inputs, HISTORY: self._history})
        self._remember(inputs, prediction)
        return prediction

    async def stream(self, inputs: dict[str, Any], send: Send) -> Any:
        """The same, and sends what the LM writes as it writes it."""
        prediction = await self._module.stream({**inputs, HISTORY: self._history}, send)
        self._remember(inputs, prediction)
        return prediction

    def dump_state(self) -> dict[str, Any]:
        """The predictors' state, and the turns, this call's too."""
        return {"module": self._module.dump_state(), "history": self._turns}

    def _remember(self, inputs: dict[str, Any], prediction: Any) -> None:
        outputs = {name: prediction[name] for name in self._answered}
        self._turns = latest([*self._turns, {**inputs, **outputs}])


def latest(turns: list[Turn]) -> list[Turn]:
    """As many of the last turns as are kept."""
    kept: list[Turn] = []
    room = MOST_BYTES
    for turn in reversed(turns[-MOST_TURNS:]):
        # What is not JSON fails the call when it is answered; here it has a length all the same.
        room -= len(json.dumps(turn, ensure_ascii=False, default=repr).encode("utf-8", "replace"))
        if room < 0:
            break
        kept.append(turn)
    if turns and not kept:
        log(f"a turn of over {MOST_BYTES} bytes is too long to be remembered by its session")
    kept.reverse()
    return kept
