"""Asks a server for flags with OpenFeature's own Python provider, as it comes from PyPI.

Arguments: the server's URL, and how many sessions to ask for. Writes one JSON document.
"""

import json
import sys

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext


def main(url: str, sessions: int) -> None:
    """Write what the provider answers for each question."""
    # As long as a busy machine may take for one answer: what is late is told as the default value.
    api.set_provider(OFREPProvider(base_url=url, timeout=60.0))
    client = api.get_client()

    def details(flag: str, key: str | None) -> dict[str, object]:
        context = EvaluationContext(targeting_key=key)
        told = client.get_boolean_details(flag, False, context)
        return {
            "value": told.value,
            "variant": told.variant,
            "reason": str(told.reason),
            "error": told.error_code and str(told.error_code),
        }

    answers = {
        "sessions": [
            client.get_boolean_value(
                "use_v2_pool", False, EvaluationContext(targeting_key=f"session-{number}")
            )
            for number in range(sessions)
        ],
        "keyed": details("use_v2_pool", "session-1"),
        "keyless": details("use_v2_pool", None),
        "plain": details("telemetry_v2", None),
        "unknown": details("use_v2_pol", "session-1"),
    }
    json.dump(answers, sys.stdout)


main(sys.argv[1], int(sys.argv[2]))
