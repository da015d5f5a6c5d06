"""The README's examples are run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from conftest import LIMIT, PACKAGE, environment


def examples() -> list[str]:
    text = (PACKAGE / "README.md").read_text()
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("number", "then", "printed"),
    [(0, "", "{'result': 'a long [...]'}\n"), (1, "print(searches(10))", "{'best': 81}\n")],
)
def test_the_example_runs(number: int, then: str, printed: str):
    ended = subprocess.run(
        [sys.executable, "-c", examples()[number] + then],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ended.stdout == printed, ended.stderr
