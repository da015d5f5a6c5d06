"""What providers say of tokens, and what is made of it."""

from __future__ import annotations

from dspex_worker.job import Job, running
from dspex_worker.usage import note, total


def sums(prompt: int, completion: int, whole: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": whole}


def test_models_are_added_up_whatever_they_call_it():
    a = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9}
    b = {"input_tokens": 10, "output_tokens": 20, "details": {"cached": 5}}
    assert total([a, b]) == sums(13, 24, 39)


def test_what_is_no_count_is_none():
    for odd in (-1, 1.5, True, "7", None, float("nan")):
        assert total([{"prompt_tokens": odd, "total_tokens": odd}]) is None
    assert total([]) is None
    assert total([{"prompt_tokens": "7", "total_tokens": 2}]) == sums(0, 0, 2)
    assert total([{"total_tokens": 0}]) == sums(0, 0, 0)


def test_no_sum_outgrows_the_wire():
    huge = {"prompt_tokens": 10**30, "total_tokens": 2**63 - 1}
    assert total([huge, huge]) == sums(2**63 - 1, 0, 2**63 - 1)


def test_it_belongs_to_the_call_that_runs_here():
    used = {"m": {"total_tokens": 2}}
    note(used)  # outside every call: nobody's
    job = Job(1, {}, None)
    running.set(job)
    try:
        note({})
        assert job.usage is None
        note(used)
        assert job.usage == sums(0, 0, 2)
    finally:
        running.set(None)
