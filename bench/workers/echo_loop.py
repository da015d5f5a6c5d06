"""The bare loop that dspex's workers are compared to: the same wire, and no pool around it.

It reads frames from the socket on descriptor 3, calls the same callable with the inputs of each and
answers with the same fields, in order. It has no threads, no checks, no cancellation and no ping:
it is what a worker would be if nothing could go wrong. Answers to all frames of one read leave in
one write, which is the fastest that this wire can be used by Python.
"""

from __future__ import annotations

import os
from time import perf_counter

import orjson

from bench_programs import echo

WIRE = 3
HEADER = 4
CHUNK = 64 * 1024


def serve() -> None:
    """Answers until the other side closes."""
    buffer = b""
    while chunk := os.read(WIRE, CHUNK):
        buffer = buffer + chunk if buffer else chunk
        start, answers = 0, []
        while len(buffer) - start >= HEADER:
            end = start + HEADER + int.from_bytes(buffer[start : start + HEADER], "big")
            if end > len(buffer):
                break
            call = orjson.loads(buffer[start + HEADER : end])
            start = end
            began = perf_counter()
            outputs = echo(**call["inputs"])
            spent = round((perf_counter() - began) * 1000, 3)
            body = orjson.dumps(
                {"type": "result", "id": call["id"], "outputs": outputs, "program_ms": spent}
            )
            answers.append(len(body).to_bytes(HEADER, "big"))
            answers.append(body)
        buffer = buffer[start:]
        data = memoryview(b"".join(answers))
        while data:
            data = data[os.write(WIRE, data) :]


if __name__ == "__main__":
    serve()
