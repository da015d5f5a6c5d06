"""DSPy warmed to be forked: nothing that it knows is changed by it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import LIMIT, environment

pytest.importorskip("dspy")


def test_the_metadata_is_what_it_was():
    code = """
import os
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
from dspy.clients import model_metadata
from dspex_worker import dspy_warmup
model_metadata.source_info()
before = model_metadata._data
dspy_warmup._settle_metadata(None)
assert model_metadata._data is not before
assert model_metadata._data == before
assert list(model_metadata._data) == list(before)
assert model_metadata.model_info("openai", "gpt-4o-mini")
"""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        timeout=LIMIT,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def test_a_warm_up_loads_what_a_first_call_would():
    """No module is left for the first real call to load, and no thread is left behind."""
    from stand_in import StandIn

    code = """
import sys, threading
from dspex_worker import dspy_warmup
dspy_warmup.warm_dspy()
assert threading.active_count() == 1, threading.enumerate()
import dspy
before = set(sys.modules)
lm = dspy.LM("openai/stand-in", api_base=sys.argv[1], api_key="none", cache=False)
with dspy.context(lm=lm, disable_history=True, max_history_size=0, trace=None):
    assert dspy.Predict("question -> answer")(question="q").answer
late = sorted(set(sys.modules) - before)
assert not late, late
"""
    with StandIn() as stand_in:
        ran = subprocess.run(
            [sys.executable, "-c", code, stand_in.address],
            env={**environment(), "NO_PROXY": "127.0.0.1", "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            timeout=LIMIT,
            text=True,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr
