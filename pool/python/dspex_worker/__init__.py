"""The Python side of dspex: a worker process that runs DSPy programs and Python callables.

Two ways in, the same engines behind both:

- ``python -m dspex_worker`` speaks the worker protocol over an inherited socket;
- ``python -m dspex_worker.bridge`` speaks the older bridge protocol over stdin and stdout.

Invariants: the standard library is enough (orjson is used where it can be imported), nothing that
user code prints ever reaches the wire, and every request is answered exactly once.
"""

from .job import cancelled

__all__ = ["cancelled"]
__version__ = "0.1.0"
