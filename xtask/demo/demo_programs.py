"""The demo's own Python: a callable that dspex serves.

`triage` sorts a question by topic, as the first step of a help desk does: a little computing, and a
short wait as for an index. Some of its calls go wrong where the environment says so (see `faults`),
as with a release that has a bad native library. Only a candidate's pool has such an environment.
"""

from __future__ import annotations

import hashlib
import time

from faults import misbehave

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
