"""Evaluates flagd definitions with flagd's own Python evaluator, for the tests of this folder.

Reads one JSON document from standard input, with the definitions and the targeting keys, and writes
a list with the value of every flag for each key.
"""

import json
import sys

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

RESOLVERS = {
    bool: "resolve_boolean_value",
    str: "resolve_string_value",
    dict: "resolve_object_value",
    int: "resolve_float_value",
    float: "resolve_float_value",
}


def main() -> None:
    """Answer what is asked on standard input."""
    asked = json.load(sys.stdin)
    evaluator = FlagdCore()
    kinds = {
        key: type(next(iter(flag["variants"].values())))
        for key, flag in asked["definitions"]["flags"].items()
    }
    evaluator.set_flags(asked["definitions"])
    answers = []
    for key in asked["keys"]:
        context = EvaluationContext(targeting_key=key)
        answer = {}
        for flag, kind in kinds.items():
            resolve = getattr(evaluator, RESOLVERS[kind])
            value = resolve(flag, kind(), context).value
            # As JSON has it: a whole number is written without a point.
            whole = isinstance(value, float) and value.is_integer()
            answer[flag] = int(value) if whole else value
        answers.append(answer)
    json.dump(answers, sys.stdout)


main()
