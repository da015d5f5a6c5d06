"""Programs that are Python callables from allow-listed modules: sync, async or generators.

Invariant: inputs are checked before the callable runs, so whatever it raises, a `TypeError` too,
is the program's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .annotation import CHECKS
from .engine import Program, Settings, find_callable
from .errors import InvalidInput, Rejected

# Annotations may be types, or text under `from __future__ import annotations`.
_KINDS: dict[str, type] = {kind.__name__: kind for kind in (int, float, str, bool, list, dict)}
_SIMPLE: dict[Any, str] = {kind: name for name, kind in _KINDS.items()} | {
    name: name for name in _KINDS
}


class CallableProgram(Program):
    """A callable with its parameters read once."""

    def __init__(self, target: str, function: Callable[..., Any]) -> None:
        self._target = target
        self._function = function
        self.is_async = _is_async(function) or _is_async(
            getattr(function, "__call__", None)  # noqa: B004  (an object whose call is async)
        )
        self._required: frozenset[str] = frozenset()
        self._known: frozenset[str] | None = None  # None: any name is taken
        self._typed: list[tuple[str, str, type, Callable[[Any], bool], bool]] = []
        self._read_parameters()

    @classmethod
    def build(cls, definition: dict[str, Any], settings: Settings) -> CallableProgram:
        """Raises `Rejected`."""
        target = definition.get("target")
        return cls(str(target), find_callable(target, settings))

    def check(self, inputs: dict[str, Any]) -> None:
        """Raises `InvalidInput`, naming the input and what is taken."""
        if inputs.keys() != self._required:
            self._check_names(inputs)
        for name, expected, kind, fits, optional in self._typed:
            if name in inputs:
                value = inputs[name]
                if type(value) is kind or fits(value):
                    continue
                if not (optional and value is None):
                    raise InvalidInput(
                        f"input {name!r} must be of type {expected}, not {type(value).__name__}"
                    )

    def _check_names(self, inputs: dict[str, Any]) -> None:
        missing = self._required - inputs.keys()
        if missing:
            names = ", ".join(repr(name) for name in sorted(missing))
            raise InvalidInput(f"input {names} is missing: {self._target} needs it")
        if self._known is not None and not inputs.keys() <= self._known:
            names = ", ".join(repr(name) for name in sorted(inputs.keys() - self._known))
            known = ", ".join(sorted(self._known)) or "none"
            raise InvalidInput(f"input {names} is unknown: {self._target} takes {known}")

    def call(self, inputs: dict[str, Any]) -> Any:
        """Calls the callable with the inputs as keyword arguments."""
        return self._function(**inputs)

    def outputs(self, result: Any) -> dict[str, Any]:
        """A dict is the outputs; any other value is the output `result`."""
        return result if isinstance(result, dict) else {"result": result}

    def _read_parameters(self) -> None:
        try:
            parameters = inspect.signature(self._function).parameters.values()
        except (TypeError, ValueError):
            return  # some callables written in C do not tell; then nothing can be checked
        required, known, takes_any = set(), set(), False
        for parameter in parameters:
            if parameter.kind is parameter.VAR_KEYWORD:
                takes_any = True
            elif parameter.kind is parameter.POSITIONAL_ONLY:
                if parameter.default is parameter.empty:
                    raise Rejected(
                        f"callable {self._target!r} has the positional-only parameter "
                        f"{parameter.name!r}, but inputs are given by name"
                    )
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                known.add(parameter.name)
                if parameter.default is parameter.empty:
                    required.add(parameter.name)
                self._read_type(parameter)
        self._required = frozenset(required)
        self._known = None if takes_any else frozenset(known)

    def _read_type(self, parameter: inspect.Parameter) -> None:
        annotation = parameter.annotation
        if isinstance(annotation, str):
            annotation = annotation.strip("'\" ")
        try:
            expected = _SIMPLE.get(annotation)
        except TypeError:  # an annotation that cannot be hashed is not a simple one
            return
        if expected:
            optional = parameter.default is None
            kind, fits = _KINDS[expected], CHECKS[expected]
            self._typed.append((parameter.name, expected, kind, fits, optional))


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
