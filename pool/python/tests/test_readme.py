"""The README's example is run as it stands."""

from __future__ import annotations

import re
import subprocess
import sys

from conftest import LIMIT, PACKAGE, environment


def test_the_example_runs():
    text = (PACKAGE / "README.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ended = subprocess.run(
        [sys.executable, "-c", example],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ended.stdout == "{'result': 'a long [...]'}\n", ended.stderr
