"""What both engines share: the settings of a worker, what a program is, and how one is built.

Invariant: a definition is data from a caller. It names things; it never brings addresses, keys or
code, and nothing in it is evaluated.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
import types
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from .errors import Rejected


@dataclass(frozen=True)
class LmProfile:
    """A language model that programs may name. `api_key_env` names a variable, never a key."""

    model: str
    api_base: str | None = None
    api_key_env: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    cache: bool = False
    # Only the bridge protocol hands a key over by value.
    api_key: str | None = field(default=None, repr=False)

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> LmProfile:
        """Takes what it knows and ignores the rest."""
        known = ("model", "api_base", "api_key_env", "temperature", "max_tokens", "cache")
        return cls(**{name: given[name] for name in known if given.get(name) is not None})


@dataclass(frozen=True)
class Settings:
    """What a worker may use."""

    allow_modules: tuple[str, ...] = ()
    lms: dict[str, LmProfile] = field(default_factory=dict)
    # The bridge protocol may configure its LM after its programs: it is looked up at each call.
    late_lm: bool = False

    def allows(self, module: str) -> bool:
        """Whether the module is listed, or lies in a listed package."""
        return any(module == name or module.startswith(name + ".") for name in self.allow_modules)


Send = Callable[[Any], Awaitable[None]]


class Instance(ABC):
    """What a call of a stateful program runs on, alone."""

    streams: bool = False

    @abstractmethod
    def call(self, inputs: dict[str, Any]) -> Any:
        """As `Program.call`."""

    async def stream(self, inputs: dict[str, Any], send: Send) -> Any:
        """As `Program.stream`."""
        raise NotImplementedError

    @abstractmethod
    def dump_state(self) -> Any:
        """What the session's next call begins with. JSON."""


class Program(ABC):
    """An instance built from a definition. May be called by several threads at once."""

    # Whether `call` returns a coroutine or an async generator.
    is_async: bool = False
    # Whether there is a `stream`.
    streams: bool = False
    # Whether calls need a `session`.
    stateful: bool = False

    @abstractmethod
    def check(self, inputs: dict[str, Any]) -> None:
        """Raises `InvalidInput` where the inputs do not fit."""

    @abstractmethod
    def call(self, inputs: dict[str, Any]) -> Any:
        """Runs with checked inputs. What a generator yields is the call's chunks."""

    async def stream(self, inputs: dict[str, Any], send: Send) -> Any:
        """Runs on the event loop, and sends chunks meanwhile. Returns what `call` would."""
        raise NotImplementedError

    def session(self, state: Any) -> AbstractContextManager[Instance]:
        """An instance for one call, in the state that `dump_state` told; fresh where it is None."""
        raise NotImplementedError

    @abstractmethod
    def outputs(self, result: Any) -> dict[str, Any]:
        """The outputs by name, from what `call` returned."""


def build(definition: Any, settings: Settings, *, stateful: bool = False) -> Program:
    """Builds an instance. Raises `Rejected`, and nothing else, where that cannot be done."""
    if not isinstance(definition, dict):
        raise Rejected("the definition is not an object")
    kind = definition.get("kind")
    if kind == "callable":
        from .callable_engine import CallableProgram

        if stateful:
            from .stateful_callable import StatefulCallable

            return StatefulCallable.build(definition, settings)
        return CallableProgram.build(definition, settings)
    if kind == "dspy":
        from .dspy_engine import DspyProgram

        return DspyProgram.build(definition, settings, stateful=stateful)
    raise Rejected(f"the definition has the unknown kind {kind!r}; known are 'dspy' and 'callable'")


def find_callable(target: Any, settings: Settings) -> Callable[..., Any]:
    """Finds `module:attribute` in an allow-listed module. Raises `Rejected`.

    An allow-listed module is no door to what it happens to import: `shop:os.system` is refused.
    """
    module_name, colon, path = target.partition(":") if isinstance(target, str) else ("", "", "")
    if not colon or not module_name or not path:
        raise Rejected(f"callable {target!r} is not written as `module:attribute`")
    if not settings.allows(module_name):
        raise Rejected(f"module {module_name!r} is not on the list of allowed modules")
    try:
        found: Any = importlib.import_module(module_name)
    except BaseException as error:  # a module may even raise SystemExit while it is imported
        raise Rejected(
            f"module {module_name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    for name in path.split("."):
        if name.startswith("_"):
            raise Rejected(f"callable {target!r} names the private attribute {name!r}")
        try:
            found = getattr(found, name)
        except AttributeError:
            raise Rejected(f"callable {target!r} does not exist: there is no {name!r}") from None
        if isinstance(found, types.ModuleType):
            raise Rejected(f"callable {target!r} leads through another module; name that module")
    if not callable(found):
        raise Rejected(f"{target!r} is not callable: it is of type {type(found).__name__}")
    if isinstance(found, type) or inspect.isroutine(found):
        home = found.__module__ or "builtins"
        if not settings.allows(home):
            raise Rejected(
                f"callable {target!r} comes from module {home!r}, "
                "which is not on the list of allowed modules"
            )
    return found


@functools.cache
def dspy_version() -> str | None:
    """The installed DSPy's version, found without importing it."""
    try:
        return importlib.metadata.version("dspy")
    except importlib.metadata.PackageNotFoundError:
        return None
