"""Imports the modules that are named in its argument, and says what became of each.

Runs by `-c` in the interpreter that is to be looked at, so it needs nothing but its library.
"""

import importlib
import importlib.metadata
import json
import os
import platform
import sys


def imported(name):
    try:
        module = importlib.import_module(name)
    except BaseException as error:  # a module may even raise SystemExit while it is imported
        return {"version": None, "error": f"{type(error).__name__}: {error}"}
    try:
        version = importlib.metadata.version(name.partition(".")[0])
    except Exception:
        version = getattr(module, "__version__", None)
    return {"version": None if version is None else str(version), "error": None}


def memory():
    try:
        with open("/proc/self/smaps_rollup") as rollup:
            for line in rollup:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


answer = os.dup(1)
os.dup2(2, 1)
modules = {name: imported(name) for name in json.loads(sys.argv[1])}
found = {
    "version": sys.version_info[:3],
    "implementation": platform.python_implementation(),
    "executable": sys.executable,
    "modules": modules,
    "memory": memory(),
}
with os.fdopen(answer, "w") as out:
    json.dump(found, out)
# What an import has started must not hold up the answer.
os._exit(0)
