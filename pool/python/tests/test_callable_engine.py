"""Callables: which are found, how inputs are checked, what becomes the outputs."""

from __future__ import annotations

import sys
import types

import pytest

from dspex_worker import engine
from dspex_worker.engine import Settings
from dspex_worker.errors import InvalidInput, Rejected

SOURCE = """
import functools
import os
import os.path as path
from os import system, getcwd

import collections

def plain(a, b=2): return a
def typed(i: int, f: float, s: str, b: bool, l: list, d: dict): return "ok"
def text_typed(i: "int", other: "Unknown" = 1): return i
def maybe(a: int = None): return a
def generic(a: list[int]): return a
def star(*args, **kwargs): return kwargs
def positional(a, /): return a
def _private(): return 1
async def later(a): return a
partial = functools.partial(plain, b=3)
text = "no callable"
store = {"a": 1}
@functools.wraps(plain)
def wrapped(*args, **kwargs): return plain(*args, **kwargs)

class Model:
    def __call__(self, a: int): return {"doubled": a * 2}
    def method(self, a): return a
    @staticmethod
    def static(a): return a
class AsyncModel:
    async def __call__(self, a): return a
model = Model()
async_model = AsyncModel()
"""


@pytest.fixture(params=["", "from __future__ import annotations\n"], autouse=True)
def shop(request, monkeypatch):
    package = types.ModuleType("shop")
    package.__path__ = []
    module = types.ModuleType("shop.answers")
    code = compile(request.param + SOURCE, "answers.py", "exec", dont_inherit=True)
    exec(code, module.__dict__)
    monkeypatch.setitem(sys.modules, "shop", package)
    monkeypatch.setitem(sys.modules, "shop.answers", module)


SETTINGS = Settings(allow_modules=("shop",))


def program(name: str):
    return engine.build({"kind": "callable", "target": f"shop.answers:{name}"}, SETTINGS)


def refusal(target: object, settings: Settings = SETTINGS) -> str:
    with pytest.raises(Rejected) as refused:
        engine.build({"kind": "callable", "target": target}, settings)
    return str(refused.value)


def test_a_listed_package_covers_its_submodules_and_nothing_else():
    settings = Settings(allow_modules=("shop.answers", "pkg"))
    assert settings.allows("shop.answers")
    assert settings.allows("pkg.sub.module")
    assert not settings.allows("shop")
    assert not settings.allows("pkgs")
    assert not settings.allows("shop.answers2")
    assert not Settings().allows("shop")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("os:system", "list of allowed"),
        ("shop.answers:missing", "no 'missing'"),
        ("shop.answers:text", "not callable"),
        ("shop.nowhere:x", "cannot be imported"),
        ("shop.answers:_private", "private"),
        ("shop.answers:plain.__globals__", "private"),
        ("shop.answers:__builtins__", "private"),
        ("shop.answers:os.system", "another module"),
        ("shop.answers:path.join", "another module"),
        ("shop.answers:system", "comes from module"),
        ("shop.answers:getcwd", "comes from module"),
        ("shop.answers:collections", "another module"),
        ("shop.answers:store.clear", "comes from module 'builtins'"),
        ("shop.answers:model.method.real", "no 'real'"),
        ("shop.answers:positional", "positional-only"),
        ("shop.answers", "module:attribute"),
        (":x", "module:attribute"),
        ("shop.answers:", "module:attribute"),
        (None, "module:attribute"),
        (5, "module:attribute"),
    ],
)
def test_what_is_not_offered_is_refused(target, said):
    assert said in refusal(target)


def test_a_module_that_ends_the_process_on_import_is_refused(tmp_path, monkeypatch):
    (tmp_path / "quits.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    said = refusal("quits:x", Settings(allow_modules=("quits",)))
    assert "cannot be imported: SystemExit" in said


def test_unknown_kinds_are_refused():
    for definition in ({"kind": "shell"}, {}, None, "callable"):
        with pytest.raises(Rejected):
            engine.build(definition, SETTINGS)


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        ("plain", {"a": 1}, {"result": 1}),
        ("plain", {"a": None, "b": 3}, {"result": None}),
        ("model", {"a": 2}, {"doubled": 4}),
        ("model.method", {"a": 2}, {"result": 2}),
        ("Model.static", {"a": 2}, {"result": 2}),
        ("partial", {"a": 1}, {"result": 1}),
        ("wrapped", {"a": 1}, {"result": 1}),
        ("star", {"x": 1, "y": 2}, {"x": 1, "y": 2}),
        ("maybe", {}, {"result": None}),
        ("maybe", {"a": None}, {"result": None}),
        ("generic", {"a": "unchecked"}, {"result": "unchecked"}),
        ("text_typed", {"i": 1, "other": "x"}, {"result": 1}),
        (
            "typed",
            {"i": 1, "f": 2, "s": "", "b": False, "l": [], "d": {}},
            {"result": "ok"},
        ),
    ],
)
def test_inputs_that_fit_are_given_by_name(name, inputs, outputs):
    built = program(name)
    assert not built.is_async
    built.check(inputs)
    assert built.outputs(built.call(inputs)) == outputs


@pytest.mark.parametrize("name", ["later", "async_model"])
def test_async_callables_are_known(name):
    assert program(name).is_async


@pytest.mark.parametrize(
    ("name", "inputs", "said"),
    [
        ("plain", {}, "'a' is missing"),
        ("plain", {"a": 1, "c": 2}, "'c' is unknown: shop.answers:plain takes a, b"),
        ("wrapped", {"x": 1}, "'a' is missing"),
        ("maybe", {"a": "1"}, "'a' must be of type int, not str"),
        ("text_typed", {"i": 1.5}, "'i' must be of type int, not float"),
        ("model", {"a": True}, "'a' must be of type int, not bool"),
        (
            "typed",
            {"i": 1, "f": "2", "s": "", "b": False, "l": [], "d": {}},
            "'f' must be of type float, not str",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_named(name, inputs, said):
    with pytest.raises(InvalidInput) as refused:
        program(name).check(inputs)
    assert said in str(refused.value)
