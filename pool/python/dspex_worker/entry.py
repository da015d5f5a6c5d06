"""A definition that the worker was told of: being built, built, or refused.

Invariant: it is built once, on one thread, and is never built again under the same entry; what
waits for it is the server's to guard.
"""

from __future__ import annotations

from typing import Any

from . import engine
from .engine import Program, Settings
from .errors import Failure, Rejected
from .job import Job
from .pace import Pace


class Entry:
    """One definition, its program, and the calls that came before it was built."""

    __slots__ = ("definition", "pace", "program", "refused", "stateful", "waiting")

    def __init__(self, definition: Any, *, stateful: bool) -> None:
        self.definition = definition
        self.stateful = stateful
        self.program: Program | None = None
        self.refused: BaseException | None = None
        self.waiting: list[Job] = []
        self.pace = Pace()

    def same_as(self, other: Entry) -> bool:
        """Whether both define the same."""
        return self.definition == other.definition and self.stateful == other.stateful

    def build(self, settings: Settings) -> tuple[Program | None, BaseException | None]:
        """The program, or why there is none. Raises nothing, SystemExit neither."""
        try:
            return engine.build(self.definition, settings, stateful=self.stateful), None
        except Failure as refused:
            return None, refused
        except BaseException as error:
            return None, Rejected(f"the program cannot be built: {type(error).__name__}: {error}")
