"""The tokens that a call's LM calls used, for its answer.

Invariants: what a provider says is taken as a count only where it is one; a call whose LM calls
said nothing, such as one that was answered from the cache, says nothing either.
"""

from __future__ import annotations

from typing import Any

from .job import running

# By the name that the answer has for it: what providers call it.
_NAMES = {
    "prompt_tokens": ("prompt_tokens", "input_tokens"),
    "completion_tokens": ("completion_tokens", "output_tokens"),
}
# The wire's readers have 64 bits for each, and a sum must fit too.
_MOST = 2**63 - 1


def note(by_model: dict[str, dict[str, Any]]) -> None:
    """Adds the usage of each model to the call that runs here, where one does."""
    job = running.get()
    if job is not None and (used := total(by_model.values())) is not None:
        job.usage = used


def total(usages: Any) -> dict[str, int] | None:
    """The sums; None where nobody counted."""
    sums = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    counted = False
    for usage in usages:
        parts = {
            name: next((usage[one] for one in names if _is_count(usage.get(one))), None)
            for name, names in _NAMES.items()
        }
        together = sum(part or 0 for part in parts.values())
        whole = usage.get("total_tokens")
        known = {**parts, "total_tokens": whole if _is_count(whole) else together}
        counted = counted or _is_count(whole) or any(part is not None for part in parts.values())
        for name, count in known.items():
            sums[name] = min(sums[name] + (count or 0), _MOST)
    return sums if counted else None


def _is_count(value: Any) -> bool:
    # Not bool, which is an int.
    return type(value) is int and value >= 0
