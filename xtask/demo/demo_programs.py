"""The demo's own Python: a callable that dspex serves, and the faults of a broken candidate.

`triage` sorts a question by topic, as the first step of a help desk does: a little computing, and a
short wait as for an index. With DEMO_FAULT="crash=0.2,stall=0.1" in its environment a share of its
calls kills its worker, and another share stops it dead, as a release with a bad native library
does. Only the candidate pool of the act `break` has that variable.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time

TOPICS = {
    "geography": ("capital", "continent", "river", "country", "currency"),
    "arithmetic": ("plus", "minus", "times", "divided", "square"),
    "chemistry": ("element", "symbol", "atomic", "metal"),
    "language": ("translate", "opposite", "plural", "french", "german", "spanish"),
    "literature": ("wrote", "author", "novel"),
}
INDEX_SECONDS = 0.020


def triage(question: str) -> dict[str, object]:
    """Topic, number of words and fingerprint of a question."""
    misbehave()
    words = [word.strip("?.,!'").lower() for word in question.split()]
    scores = {topic: sum(w in words for w in keys) for topic, keys in TOPICS.items()}
    topic = max(scores, key=lambda name: scores[name])
    digest = question.encode()
    for _ in range(200):
        digest = hashlib.sha256(digest).digest()
    time.sleep(INDEX_SECONDS)
    return {
        "topic": topic if scores[topic] else "other",
        "words": len(words),
        "fingerprint": digest.hex()[:16],
    }


def misbehave() -> None:
    """Breaks this worker where DEMO_FAULT says so."""
    for fault in filter(None, os.environ.get("DEMO_FAULT", "").split(",")):
        kind, _, share = fault.partition("=")
        if random.random() >= float(share):  # noqa: S311  (a fault, not a secret)
            continue
        if kind == "crash":
            os._exit(70)
        elif kind == "stall":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            raise ValueError(f"DEMO_FAULT names {kind!r}; it knows crash and stall")
