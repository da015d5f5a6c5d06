"""The probe's callables: harmless, and what rehearsals expect of them."""

from __future__ import annotations

import time

import pytest

from dspex_worker import engine, probe
from dspex_worker.engine import Settings
from dspex_worker.errors import InvalidInput, Rejected

ALLOWED = Settings(allow_modules=("dspex_worker.probe",))


def build(name: str, settings: Settings = ALLOWED, *, stateful: bool = False):
    definition = {"kind": "callable", "target": f"dspex_worker.probe:{name}"}
    return engine.build(definition, settings, stateful=stateful)


def test_nothing_of_it_can_be_run_where_it_is_not_allowed():
    with pytest.raises(Rejected):
        build("echo", Settings(allow_modules=("shop",)))


@pytest.mark.parametrize("name", ["time.sleep", "annotations", "Any", "__builtins__"])
def test_it_is_no_door_to_what_it_imports(name: str):
    with pytest.raises(Rejected):
        build(name)


@pytest.mark.parametrize("value", [None, "ä\n", [1, 2.5, {"a": []}], {"value": 1}])
def test_echo_answers_what_it_was_given(value: object):
    program = build("echo")
    assert program.outputs(program.call({"value": value})) == {"value": value}


def test_inputs_are_checked():
    with pytest.raises(InvalidInput):
        build("add").check({"a": "one", "b": 2})
    assert build("add").call({"a": 1, "b": 2}) == {"sum": 3}


@pytest.mark.parametrize("name", ["sleep", "burn"])
@pytest.mark.parametrize("seconds", [3600.0, float("inf"), float("nan"), -1.0])
def test_nothing_takes_longer_than_its_limit(
    name: str, seconds: float, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(probe, "LIMIT", 0.01)
    began = time.monotonic()
    build(name).call({"seconds": seconds})
    assert time.monotonic() - began < 60.0, "far from an hour"


def test_a_count_goes_on_from_its_state():
    program = build("Count", stateful=True)
    with program.session(None) as session:
        assert session.call({"add": 2}) == {"turns": 1, "total": 2}
        state = session.dump_state()
    with program.session(state) as session:
        assert session.call({"add": 3}) == {"turns": 2, "total": 5}


def test_fail_raises():
    with pytest.raises(ValueError, match="on purpose"):
        build("fail").call({"reason": "on purpose"})
