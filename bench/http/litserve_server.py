"""LitServe with so many workers: python litserve_server.py PORT WORKERS."""

from __future__ import annotations

import sys
from typing import Any

import litserve

from echo import echo


class Echo(litserve.LitAPI):
    """One worker's side."""

    def setup(self, device: Any) -> None:
        """There is no model to load."""

    def predict(self, x: dict[str, str]) -> dict[str, str | int]:
        """The callable."""
        return echo(x["text"])


def main(port: int, workers: int) -> None:
    """Serves until it is told to end."""
    server = litserve.LitServer(Echo(), accelerator="cpu", workers_per_device=workers)
    server.run(
        host="127.0.0.1",
        port=port,
        num_api_servers=workers,
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
