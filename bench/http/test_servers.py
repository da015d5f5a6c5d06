"""The servers' scripts, held against stand-ins of the frameworks, which have venvs of their own."""

import asyncio
import os
import runpy
import signal
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import echo

FOLDER = Path(__file__).parent
ANSWER = {"text": "hello", "pid": os.getpid()}


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    module = ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


def run(script: str, *arguments: str, name: str = "__main__") -> dict[str, Any]:
    before, sys.argv = sys.argv, [script, *arguments]
    try:
        return runpy.run_path(str(FOLDER / script), run_name=name)
    finally:
        sys.argv = before


def test_the_callable_answers_its_input_and_its_process() -> None:
    assert echo.echo("hello") == ANSWER


def test_fastapi_calls_it_in_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    routes: dict[str, Any] = {}

    class FastAPI:
        def post(self, path: str) -> Any:
            return lambda function: routes.setdefault(path, function)

    stand_in(monkeypatch, "fastapi", FastAPI=FastAPI)
    stand_in(monkeypatch, "pydantic", BaseModel=SimpleNamespace)
    call = run("fastapi_app.py", name="app")["Call"](text="hello")
    assert asyncio.run(routes["/loop"](call)) == ANSWER
    assert routes["/threads"](call) == ANSWER


def test_litserve_has_as_many_workers_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    class LitServer:
        def __init__(self, api: Any, **options: Any) -> None:
            seen.update(options, answer=api.predict({"text": "hello"}))

        def run(self, **options: Any) -> None:
            seen.update(options)

    stand_in(monkeypatch, "litserve", LitAPI=object, LitServer=LitServer)
    run("litserve_server.py", "1234", "2")
    assert seen["answer"] == ANSWER
    assert (seen["port"], seen["host"]) == (1234, "127.0.0.1")
    assert (seen["workers_per_device"], seen["num_api_servers"]) == (2, 2)


def test_bentoml_has_two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def service(**options: Any) -> Any:
        seen.update(options)
        return lambda one: one

    stand_in(monkeypatch, "bentoml", service=service, api=lambda method: method)
    assert run("bentoml_service.py", name="service")["Echo"]().echo("hello") == ANSWER
    assert seen["workers"] == 2


def test_ray_serves_until_it_is_told_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {"ended": []}

    class Request:
        async def json(self) -> dict[str, str]:
            return {"text": "hello"}

    def deployment(one: Any, **options: Any) -> Any:
        seen.update(options, answer=asyncio.run(one()(Request())))
        return SimpleNamespace(bind=lambda: "bound")

    def serving(bound: str, **options: Any) -> None:
        seen.update(options, bound=bound)
        os.kill(os.getpid(), signal.SIGTERM)

    serve = SimpleNamespace(
        start=lambda **options: seen.update(options),
        deployment=deployment,
        run=serving,
        shutdown=lambda: seen["ended"].append("serve"),
    )
    stand_in(
        monkeypatch,
        "ray",
        init=lambda **_: None,
        serve=serve,
        shutdown=lambda: seen["ended"].append("ray"),
    )
    before = signal.getsignal(signal.SIGTERM)
    try:
        run("ray_server.py", "1234", "2")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen["answer"] == ANSWER
    assert seen["http_options"] == {"host": "127.0.0.1", "port": 1234}
    assert (seen["num_replicas"], seen["bound"]) == (2, "bound")
    assert seen["ended"] == ["serve", "ray"]
