"""Terms of one day and category that the same texts say, joined to topics.

A topic goes by the term with the highest score, of equals the longest. Any other joins the first topic with whose name
it shares at least half of the rarer one's texts (overlap coefficient, Szymkiewicz 1934), else it begins one of its own:
the parts of a longer phrase and the words around an event come together, and why a term stands where it does is seen
from two counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Set

import pyarrow as pa

#: Raised when topics are formed differently: earlier days are then judged anew.
VERSION = "1"
#: Least share of the rarer term's texts that say both.
TOGETHER = 0.5
TOPICS = "day date, category string, term string, topic string, topic_texts long"


def topics(texts: Mapping[str, Set[str]], scores: Mapping[str, float]) -> dict[str, str]:
    """The topic of every term.

    Args:
        texts: which texts say a term, by term; none is empty.
        scores: how far a term stands out, by term.
    """
    found: dict[str, str] = {}
    names: list[str] = []
    for term in sorted(texts, key=lambda term: (-scores[term], -len(term), term)):
        near = (name for name in names if _overlap(texts[term], texts[name]) >= TOGETHER)
        found[term] = next(near, term)
        if found[term] == term:
            names.append(term)
    return found


def _overlap(one: Set[str], other: Set[str]) -> float:
    return len(one & other) / min(len(one), len(other))


def topics_of(rows: pa.Table) -> pa.Table:
    """Rows of `TOPICS` of one day and category, from a row a term and text: `term`, `score`, `text_hash`."""
    texts: dict[str, set[str]] = defaultdict(set)
    scores: dict[str, float] = {}
    for term, score, text in zip(*(rows[n].to_pylist() for n in ("term", "score", "text_hash")), strict=True):
        texts[term].add(text)
        scores[term] = score
    found = topics(texts, scores)
    said: dict[str, set[str]] = defaultdict(set)
    for term, name in found.items():
        said[name] |= texts[term]
    day, category, terms = rows["day"][0], rows["category"][0], sorted(found)
    return pa.table({
        "day": pa.repeat(day, len(terms)),
        "category": pa.repeat(category, len(terms)),
        "term": terms,
        "topic": [found[term] for term in terms],
        "topic_texts": [len(said[found[term]]) for term in terms],
    })  # fmt: skip
