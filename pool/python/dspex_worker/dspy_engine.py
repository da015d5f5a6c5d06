"""Programs that are DSPy modules built from a signature.

Invariants: DSPy is imported only when it is needed, and set up once: no network at the first call,
no cache on disk, no history. The LM is a configured profile. No input of a caller can reach an
argument of DSPy's own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_args

from .annotation import checker, resolve
from .dspy_module import DspyModule
from .dspy_session import HISTORY, DspySession, history_field
from .engine import Instance, LmProfile, Program, Send, Settings, find_callable
from .errors import InvalidInput, Rejected, keep_secret

MODULES = ("predict", "chain_of_thought", "react")
# Answers are kept in memory only where a profile asks for it, and not without bound.
CACHED_ANSWERS = 1_000
# Rides out a blip of the provider (waits of 1 s and 2 s, unless it names its own). An outage must
# surface as the provider's error, before the caller's time is up and the program is blamed.
RETRIES = 2
# Names that DSPy keeps for itself; each was found by trying it. As an input, `config` would even
# give callers the model's address and options, and with the address its key.
_RESERVED_FIELDS = frozenset(
    {"fields", "input_fields", "instructions", "model_config", "output_fields", "signature"}
)
_RESERVED_INPUTS = frozenset(
    {
        "completions",
        "config",
        "demos",
        "instance",
        "lm",
        "max_iters",
        "module",
        "new_signature",
        "prediction",
        "self",
        "trajectory",
    }
)
_RESERVED_OUTPUTS = frozenset({"base", "completed", "self", "trajectory"})
# What a module adds to the signature.
_ADDED_FIELDS = {
    "predict": frozenset[str](),
    "chain_of_thought": frozenset({"reasoning"}),
    "react": frozenset({"next_thought", "next_tool_args", "next_tool_name", "reasoning"}),
}

_lock = threading.Lock()
_dspy: Any = None
_lms: dict[LmProfile, Any] = {}


def load() -> Any:
    """Imports DSPy and sets it up, once in a process."""
    global _dspy  # noqa: PLW0603  (one DSPy for the process, guarded by the lock)
    with _lock:
        if _dspy is None:
            # Read at the first call by DSPy, and at import by litellm: without it, both fetch a
            # price list over the network. An operator's own choice is left alone.
            os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            import dspy

            dspy.configure_cache(
                enable_disk_cache=False,
                enable_memory_cache=True,
                memory_max_entries=CACHED_ANSWERS,
            )
            _dspy = dspy
        return _dspy


@dataclass(frozen=True)
class _Input:
    name: str
    text: str
    fits: Callable[[Any], bool]
    optional: bool


class DspyProgram(Program):
    """A DSPy module with the LM it asks."""

    def __init__(
        self,
        kind: str,
        module: DspyModule,
        inputs: list[_Input],
        outputs: list[str],
        *,
        stateful: bool,
    ) -> None:
        self._kind = kind
        self._module = module
        self._inputs = inputs
        self._names = frozenset(one.name for one in inputs)
        self._outputs = outputs
        self.streams = module.streams
        self.stateful = stateful

    @classmethod
    def build(
        cls, definition: dict[str, Any], settings: Settings, *, stateful: bool = False
    ) -> DspyProgram:
        """Raises `Rejected`."""
        kind = definition.get("module") or "predict"
        if kind not in MODULES:
            raise Rejected(f"module {kind!r} is unknown; known are {', '.join(MODULES)}")
        targets = definition.get("tools") or []
        if targets and kind != "react":
            raise Rejected(f"module {kind} takes no tools; only react does")
        given = definition.get("signature")
        if not isinstance(given, dict):
            raise Rejected("the signature is not an object {inputs, outputs}")
        inputs, input_types = _fields(given, "inputs")
        outputs, output_types = _fields(given, "outputs")
        _check_names(kind, set(input_types), set(output_types))
        if stateful and (HISTORY in input_types or HISTORY in output_types):
            raise Rejected(
                f"signature field {HISTORY!r} has a name that stateful programs use: rename it"
            )
        find_lm = _lm_finder(definition.get("lm"), settings)
        tools = [find_callable(target, settings) for target in targets]

        dspy = _load_or_reject()
        fields = {f["name"]: (input_types[f["name"]], dspy.InputField(**_desc(f))) for f in inputs}
        if stateful:
            fields[HISTORY] = history_field(dspy, kind)
        for f in outputs:
            fields[f["name"]] = (output_types[f["name"]], dspy.OutputField(**_desc(f)))
        signature = dspy.Signature(fields, given.get("instructions") or None)
        answered = [field["name"] for field in outputs]
        if kind == "predict":
            module = dspy.Predict(signature)
        elif kind == "chain_of_thought":
            module = dspy.ChainOfThought(signature)
            if "reasoning" not in output_types:
                answered.insert(0, "reasoning")
        else:
            module = dspy.ReAct(signature, tools=tools)
        checked = [
            _Input(name, _text(field), checker(kind_of), type(None) in get_args(kind_of))
            for field, (name, kind_of) in zip(inputs, input_types.items(), strict=True)
        ]
        texts = [name for name in answered if output_types.get(name, str) is str]
        asked = DspyModule(dspy, module, find_lm, texts)
        return cls(kind, asked, checked, answered, stateful=stateful)

    def check(self, inputs: dict[str, Any]) -> None:
        """Raises `InvalidInput`, naming the field and the expected type."""
        for one in self._inputs:
            if one.name not in inputs:
                if not one.optional:
                    raise InvalidInput(f"input {one.name!r} of type {one.text} is missing")
            elif not one.fits(inputs[one.name]):
                given = type(inputs[one.name]).__name__
                raise InvalidInput(f"input {one.name!r} must be of type {one.text}, not {given}")
        if not inputs.keys() <= self._names:
            names = ", ".join(repr(name) for name in sorted(inputs.keys() - self._names))
            known = ", ".join(one.name for one in self._inputs)
            raise InvalidInput(f"input {names} is unknown: the program takes {known}")

    def call(self, inputs: dict[str, Any]) -> Any:
        """Asks the LM, and returns DSPy's prediction."""
        return self._module.call(inputs)

    async def stream(self, inputs: dict[str, Any], send: Send) -> Any:
        """The same, and sends what the LM writes as it writes it."""
        return await self._module.stream(inputs, send)

    @contextmanager
    def session(self, state: Any) -> Iterator[Instance]:
        """A copy of the module and the session's turns, for one call. Raises `BadState`."""
        # A copy takes far less time than loading a state does (0.05 ms against 1 ms), so none is
        # kept for reuse: what is new needs no cleaning.
        yield DspySession(load(), self._module.copy(), self._kind, self._outputs, state)

    def outputs(self, result: Any) -> dict[str, Any]:
        """The declared outputs, and the reasoning of a chain of thought."""
        return {name: result[name] for name in self._outputs}


def _load_or_reject() -> Any:
    try:
        return load()
    except ModuleNotFoundError as error:
        if error.name == "dspy":
            raise Rejected("DSPy is not installed in the worker's Python") from error
        raise


def _fields(signature: dict[str, Any], side: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    fields = signature.get(side)
    if not isinstance(fields, list) or not fields:
        raise Rejected(f"the signature needs at least one field in `{side}`")
    types: dict[str, Any] = {}
    for field in fields:
        name = field.get("name") if isinstance(field, dict) else None
        if not isinstance(name, str) or not name.isidentifier():
            raise Rejected(f"a field in `{side}` has no name that is a Python identifier: {name!r}")
        if name in types:
            raise Rejected(f"signature field {name!r} stands there twice")
        try:
            types[name] = resolve(_text(field))
        except Rejected as refused:
            raise Rejected(f"signature field {name!r}: {refused}") from None
    return fields, types


def _text(field: dict[str, Any]) -> str:
    return field.get("type") or "str"


def _desc(field: dict[str, Any]) -> dict[str, str]:
    description = field.get("description")
    return {"desc": str(description)} if description else {}


def _check_names(kind: str, inputs: set[str], outputs: set[str]) -> None:
    if both := inputs & outputs:
        raise Rejected(f"signature field {min(both)!r} is an input and an output")
    taken = (inputs | outputs) & _RESERVED_FIELDS
    taken |= inputs & (_RESERVED_INPUTS | _ADDED_FIELDS[kind])
    taken |= outputs & _RESERVED_OUTPUTS
    if kind == "react":
        taken |= outputs & _ADDED_FIELDS[kind]
    taken |= {name for name in inputs | outputs if name.startswith("_")}
    if taken:
        raise Rejected(
            f"signature field {min(taken)!r} has a name that DSPy uses itself: rename it"
        )


def _lm_finder(name: str | None, settings: Settings) -> Callable[[], Any]:
    name = name or "default"
    if settings.late_lm:

        def find() -> Any:
            profile = settings.lms.get(name)
            if profile is None:
                raise Rejected("no LM is configured: send configure_lm first")
            return _lm(name, profile)

        return find
    profile = settings.lms.get(name)
    if profile is None:
        known = ", ".join(sorted(settings.lms)) or "none"
        raise Rejected(f"LM profile {name!r} is not configured; configured are: {known}")
    lm = _lm(name, profile)
    return lambda: lm


def _lm(name: str, profile: LmProfile) -> Any:
    lm = _lms.get(profile)
    if lm is not None:
        return lm
    options: dict[str, Any] = {"cache": profile.cache, "num_retries": RETRIES}
    key = profile.api_key
    if profile.api_key_env:
        key = os.environ.get(profile.api_key_env)
        if not key:
            raise Rejected(
                f"LM profile {name!r} takes its key from the environment variable "
                f"{profile.api_key_env}, which is not set in the worker"
            )
    if key:
        keep_secret(key)
        options["api_key"] = key
    elif profile.api_base:
        # A server of one's own that asks for no key. DSPy insists on one, and left alone it would
        # send that server the provider's key where the environment happens to hold it.
        options["api_key"] = "none"
    for option in ("api_base", "temperature", "max_tokens"):
        value = getattr(profile, option)
        if value is not None:
            options[option] = value
    dspy = _load_or_reject()
    try:
        lm = dspy.LM(profile.model, **options)
    except Exception as error:
        raise Rejected(f"LM profile {name!r} cannot be used: {error}") from error
    return _lms.setdefault(profile, lm)
