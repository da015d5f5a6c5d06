"""What the fork server loads before it forks, and whether it is safe to fork then.

Invariants: nothing here asks a language model or the network; after each import the process is
looked at, so that whoever left a thread or a descriptor behind is named.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import engine

# A thread that an import started may be about to end; this long it is waited for, in seconds.
_GRACE = 0.5
# What Python's allocator takes at once for objects of one size, and the most that is spent to fill
# what it has of it.
_POOL = 16 * 1024
_MOST_FILLING = 4_000
# As often Python looks at code before it settles on how to run it, which it writes into the code.
_REHEARSALS = 10
# NumPy's library for linear algebra starts its threads when it is loaded, and is the usual culprit.
_OPENBLAS = " (OpenBLAS is loaded: OPENBLAS_NUM_THREADS=1 keeps it from starting threads)"
# Devices without a position or a state: a child that shares them shares nothing.
_HARMLESS = frozenset({"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"})


class ForkUnsafe(Exception):
    """A fork would copy what cannot be copied. The text names the culprit."""


def warm(imports: Iterable[str], targets: Iterable[str], known: Callable[[], set[int]]) -> None:
    """Imports, calls each `module:attribute` once, and freezes the garbage collector.

    `known` answers the descriptors that are the server's own. Raises `ForkUnsafe`, and whatever an
    import or a target raises.
    """
    # A collection in between would only touch, and so later copy, every page.
    gc.disable()
    check(known(), "at the start", _GRACE)
    for name in imports:
        if name == "dspy":
            from .dspy_warmup import warm_dspy

            warm_dspy()
        else:
            importlib.import_module(name)
        check(known(), f"after the import of {name!r}", _GRACE)
    for target in targets:
        _call(target)
        check(known(), f"after the warm-up call of {target!r}", _GRACE)
    _rehearse()
    gc.collect()
    _fill_holes()
    gc.freeze()
    check(known(), "after the warm-up", _GRACE)


_filling: list[Any] = []


def _fill_holes() -> None:
    """Fills the gaps that imports left in Python's memory.

    A worker's first objects would go into them, a few to each page, and so copy pages that it
    else shares. With DSPy this spares each worker some hundred kilobytes, and costs the server less
    than a megabyte once. Where objects lie otherwise than in CPython, that is all it costs.
    """
    for size in range(16, 513, 16):
        make = _maker(size)
        run, before = 0, 0
        # Addresses in a row are a pool that was empty: then there is no gap left for this size.
        for _ in range(_MOST_FILLING):
            one = make()
            _filling.append(one)
            run = run + size if id(one) == before + size else 0
            before = id(one)
            if run > _POOL * 3 // 4:
                break


def _maker(size: int) -> Callable[[], object]:
    if size == 16:
        return object
    if size == 32:
        return lambda: time.monotonic()  # noqa: PLW0108  (a float, new each time)
    empty = sys.getsizeof(b"")
    return lambda: bytes(size - empty)


def _rehearse() -> None:
    """Runs once what each worker does at its start, so that what is looked up is there."""
    engine.dspy_version()
    platform.python_version()
    for _ in range(_REHEARSALS):
        thread = threading.Thread(target=int, daemon=True)
        thread.start()
        thread.join()


def check(known: set[int], when: str, grace: float = 0.0) -> None:
    """Raises `ForkUnsafe` where there is a second thread or a foreign descriptor."""
    deadline = time.monotonic() + grace
    while found := [*_threads(), *_descriptors(known)]:
        if time.monotonic() >= deadline:
            raise ForkUnsafe(f"{when} it holds {', '.join(found)}")
        time.sleep(0.005)


def _threads() -> list[str]:
    main = os.getpid()
    ids = [int(name) for name in os.listdir("/proc/self/task") if int(name) != main]  # noqa: PTH208
    if not ids:
        return []
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    return [f"the thread {names[one]!r}" if one in names else _native_thread(one) for one in ids]


def _native_thread(thread: int) -> str:
    """A thread that Python does not know: code in C has started it."""
    try:
        name = Path(f"/proc/self/task/{thread}/comm").read_text().strip()
        hint = _OPENBLAS if "openblas" in Path("/proc/self/maps").read_text() else ""
    except OSError:
        name, hint = str(thread), ""
    return f"the native thread {name!r}{hint}"


def _descriptors(known: set[int]) -> list[str]:
    found = []
    for fd in sorted(int(name) for name in os.listdir("/proc/self/fd")):  # noqa: PTH208
        if fd in known:
            continue
        try:
            what = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115
        except OSError:
            continue  # the one that listed them
        if what not in _HARMLESS:
            found.append(f"the descriptor {fd} ({what})")
    return found


def _call(target: str) -> None:
    module, _, path = target.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    result = found()
    if inspect.iscoroutine(result):
        asyncio.run(result)
