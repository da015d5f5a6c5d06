"""Programs that are callables with a state: a class, or a factory, whose instances are called.

Invariants: an instance serves one call and is thrown away, so no session can see another's state;
what the state must be is the program's own business, as long as it is JSON.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .callable_engine import CallableProgram
from .engine import Instance, Settings, find_callable
from .errors import Rejected

_METHODS = ("dump_state", "load_state")


class StatefulCallable(CallableProgram):
    """A factory, with the parameters of what it makes."""

    stateful = True

    def __init__(self, target: str, factory: Callable[[], Any]) -> None:
        self._factory = factory
        # Made once to see what it is; its calls get instances of their own.
        super().__init__(target, _made_well(target, factory))

    @classmethod
    def build(cls, definition: dict[str, Any], settings: Settings) -> StatefulCallable:
        """Raises `Rejected`."""
        target = definition.get("target")
        return cls(str(target), find_callable(target, settings))

    @contextmanager
    def session(self, state: Any) -> Iterator[Instance]:
        """A new instance, in this state where there is one."""
        made = self._factory()
        if state is not None:
            made.load_state(state)
        yield _Made(made)


class _Made(Instance):
    def __init__(self, made: Any) -> None:
        self._made = made

    def call(self, inputs: dict[str, Any]) -> Any:
        return self._made(**inputs)

    def dump_state(self) -> Any:
        return self._made.dump_state()


def _made_well(target: str, factory: Callable[[], Any]) -> Any:
    try:
        made = factory()
    except BaseException as error:
        raise Rejected(
            f"stateful callable {target!r} must be a class, or a factory, that takes no arguments; "
            f"it raised {type(error).__name__}: {error}"
        ) from error
    if not callable(made):
        kind = type(made).__name__
        raise Rejected(f"stateful callable {target!r} makes a {kind}, which cannot be called")
    for name in _METHODS:
        method = getattr(made, name, None)
        if not callable(method):
            raise Rejected(
                f"stateful callable {target!r} has no {name}(): a stateful program needs "
                "dump_state() and load_state(state)"
            )
        if inspect.iscoroutinefunction(method):
            raise Rejected(f"stateful callable {target!r} has an async {name}(): it must be sync")
    return made
