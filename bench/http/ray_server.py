"""Ray Serve with so many replicas: python ray_server.py PORT REPLICAS."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from typing import Any

import ray
from ray import serve

from echo import echo

# As many as there are connections, so that no request waits while a replica could take it. Ray's
# own default is 5.
ONGOING = 16


class Echo:
    """One replica."""

    async def __call__(self, request: Any) -> dict[str, str | int]:
        """The callable in the replica's event loop, which is the faster way."""
        return echo((await request.json())["text"])


def main(port: int, replicas: int) -> None:
    """Serves until it is told to end."""
    ended = threading.Event()
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    # After `init`, which sets a handler of its own.
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    try:
        serve.start(
            http_options={"host": "127.0.0.1", "port": port},
            logging_config={"enable_access_log": False, "log_level": "ERROR"},
        )
        # Without a share of a core for each replica, so that two find room on two cores beside the
        # proxy and the controller.
        deployment = serve.deployment(
            Echo,
            num_replicas=replicas,
            max_ongoing_requests=ONGOING,
            ray_actor_options={"num_cpus": 0},
        )
        serve.run(deployment.bind(), route_prefix="/echo")
        ended.wait()
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
