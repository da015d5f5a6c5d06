"""Measures one of Python's own pools as dspex is measured: N calls in flight from one process.

    python rivals.py --rival process-pool-executor --workers 2 --in-flight 16 --seconds 2

Prints one JSON object. Invariants: each call is sent alone, as a request of a server comes alone,
without chunks or map; the next is sent from the callback that brings an answer, with no thread of
ours between, which was the faster of both ways for every pool where they differed at all; every
answer is looked at; what was started has ended when this ends.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from importlib.metadata import version
from time import perf_counter
from typing import Any

WARM_UP_SHARE = 0.25

# Sends one call and arranges for the answer, or the error, to be handed over.
Send = Callable[[Callable[[Any], None]], None]


def echo(text: str) -> str:
    """The same work that dspex's workers do."""
    return text


class Meter:
    """Keeps calls in flight for a while and notes how long each took, in seconds."""

    def __init__(self, in_flight: int, seconds: float, text: str) -> None:
        self._in_flight = in_flight
        self._seconds = seconds
        self._text = text

    def drive(self, send: Send) -> tuple[float, list[float]]:
        """Answers the seconds measured and what each call took."""
        took: list[float] = []
        wrong: list[Any] = []
        idle = threading.Semaphore(0)
        begin = perf_counter() + self._seconds * WARM_UP_SHARE
        end = begin + self._seconds

        def call() -> None:
            sent = perf_counter()

            def answered(answer: Any) -> None:
                now = perf_counter()
                if answer != self._text:
                    wrong.append(answer)
                elif begin <= now < end:
                    took.append(now - sent)
                if now < end and not wrong:
                    call()
                else:
                    idle.release()

            send(answered)

        for _ in range(self._in_flight):
            call()
        for _ in range(self._in_flight):
            idle.acquire()
        if wrong:
            raise RuntimeError(f"an answer was {wrong[0]!r}")
        return self._seconds, took


def of_future(submit: Callable[[], Future[Any]]) -> Send:
    """For pools whose answers are futures."""

    def send(answered: Callable[[Any], None]) -> None:
        def done(future: Future[Any]) -> None:
            error = future.exception()
            answered(future.result() if error is None else error)

        submit().add_done_callback(done)

    return send


def process_pool_executor(workers: int, text: str, meter: Meter) -> tuple[float, list[float]]:
    """`concurrent.futures.ProcessPoolExecutor`."""
    with ProcessPoolExecutor(workers) as pool:
        return meter.drive(of_future(lambda: pool.submit(echo, text)))


def multiprocessing_pool(workers: int, text: str, meter: Meter) -> tuple[float, list[float]]:
    """`multiprocessing.Pool`."""
    with multiprocessing.Pool(workers) as pool:

        def send(answered: Callable[[Any], None]) -> None:
            pool.apply_async(echo, (text,), callback=answered, error_callback=answered)

        return meter.drive(send)


def loky(workers: int, text: str, meter: Meter) -> tuple[float, list[float]]:
    """`loky.ProcessPoolExecutor`."""
    from loky import ProcessPoolExecutor as LokyExecutor

    with LokyExecutor(workers) as pool:
        return meter.drive(of_future(lambda: pool.submit(echo, text)))


def pebble(workers: int, text: str, meter: Meter) -> tuple[float, list[float]]:
    """`pebble.ProcessPool`."""
    from pebble import ProcessPool

    with ProcessPool(max_workers=workers) as pool:
        return meter.drive(of_future(lambda: pool.schedule(echo, args=[text])))


def ray(workers: int, text: str, meter: Meter) -> tuple[float, list[float]]:
    """Ray actors, one a worker, called in turn."""
    import ray as ray_itself

    ray_itself.init(
        num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="error"
    )
    try:
        actor_class = ray_itself.remote(num_cpus=1)(_Echo)
        actors = [actor_class.remote() for _ in range(workers)]
        ray_itself.get([actor.echo.remote("ready") for actor in actors])
        turn = 0

        def submit() -> Future[Any]:
            nonlocal turn
            turn += 1
            return actors[turn % workers].echo.remote(text).future()

        return meter.drive(of_future(submit))
    finally:
        ray_itself.shutdown()


class _Echo:
    def echo(self, text: str) -> str:
        return text


# By name: how it is measured, and the package that it comes from.
RIVALS = {
    "process-pool-executor": (process_pool_executor, None),
    "multiprocessing-pool": (multiprocessing_pool, None),
    "loky": (loky, "loky"),
    "pebble": (pebble, "pebble"),
    "ray": (ray, "ray"),
}


def main() -> int:
    """Reads the command line, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rival", choices=RIVALS, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--bytes", type=int, default=100)
    asked = parser.parse_args()
    measure, package = RIVALS[asked.rival]
    text = "x" * asked.bytes
    seconds, took = measure(asked.workers, text, Meter(asked.in_flight, asked.seconds, text))
    if not took:
        sys.exit(f"{asked.rival} answered no call within {seconds} s")
    took.sort()
    result = {
        "version": version(package) if package else f"Python {platform.python_version()}",
        "calls": len(took),
        "rate": len(took) / seconds,
        "p50_us": took[len(took) // 2] * 1e6,
        "p99_us": took[len(took) * 99 // 100] * 1e6,
    }
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
