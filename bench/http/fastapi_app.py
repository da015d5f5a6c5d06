"""FastAPI, for `uvicorn --workers 2` and `gunicorn -k uvicorn.workers.UvicornWorker -w 2`.

Two ways, because both are in use: a coroutine calls the callable in the event loop, which is the
fastest and may not wait; a plain function has it called in Starlette's thread pool, which is what a
callable that waits for a model needs.
"""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel

from echo import echo

app = FastAPI()


class Call(BaseModel):
    """The request's body."""

    text: str


@app.post("/loop")
async def in_the_loop(call: Call) -> dict[str, str | int]:
    """The callable in the event loop."""
    return echo(call.text)


@app.post("/threads")
def in_a_thread(call: Call) -> dict[str, str | int]:
    """The callable in a thread."""
    return echo(call.text)
