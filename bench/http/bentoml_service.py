"""BentoML, for `bentoml serve bentoml_service:Echo`."""

from __future__ import annotations

import bentoml

from echo import echo

# As the benchmark asks of all; there is no option on the command line.
WORKERS = 2


@bentoml.service(workers=WORKERS, logging={"access": {"enabled": False}})
class Echo:
    """The service."""

    @bentoml.api
    def echo(self, text: str) -> dict[str, str | int]:
        """The callable, in a thread, as BentoML calls what is no coroutine."""
        return echo(text)
