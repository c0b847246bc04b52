"""Labels of intent and of spans that a file gives, held against what is known of them.

Nobody gave those of the public sentences: rules did (`ml.text.weak`). So a person's label may rightly differ from what
was known before, but then a second person should have read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from ml.text.data import IGNORED, SENTIMENTS, Example
from ml.text.verdict import Check
from ml.text.weak import demand_spans, purchase_intent

Weak = tuple[int, str]
"""Intent (0 or 1) and spans (JSON)."""
MOST_MISSED = 0.06
"""Of 50 sentences a language that no rule calls intent none read as one: at most this share does, at 95 %."""
ALPHA = 0.005
"""Level of the count of intents that no rule sees."""


@dataclass(frozen=True)
class WeakDoubt:
    """Checks, and the rows for a person to read."""

    checks: list[Check]
    suspicious: list[dict[str, Any]]


def weak_of(example: Example) -> Weak:
    """Intent and spans of an example, as a ledger keeps them."""
    return example.intent, json.dumps(example.spans)


def ruled(example: Example) -> Weak:
    """What the rules say of its text."""
    text, language = example.text, example.language
    return purchase_intent(text, language), json.dumps(tuple(demand_spans(text, language)))


def weak_doubt(own: Iterable[tuple[str, Example]], known: Mapping[str, Weak], public: Set[str]) -> WeakDoubt:
    """Hold given intents and spans against the rules and against what the champion was trained on.

    Args:
        own: rows of label files with the keys of their sentences, those left out that a second person has read.
        known: intent and spans of sentences that the champion was trained on, by key.
        public: keys of the public sentences, which have the rules' labels.
    """
    from scipy.stats import binom

    changed, seen, other = [], [], 0
    asked = 0
    for key, example in own:
        given, rule = weak_of(example), ruled(example)
        before = known.get(key, rule if key in public else None)
        # each by itself: where a file gives one alone the rules fill in the other, and rules change
        if before is not None and any(
            mine not in (old, said) for mine, old, said in zip(given, before, rule, strict=True)
        ):
            changed.append(_row(example, before, "the model in use was trained on another intent or other spans"))
        elif before is None:
            asked += not rule[0]
            other += given[1] != rule[1]
            if given[0] and not rule[0]:
                seen.append(_row(example, rule, "no rule calls it intent"))
    beyond = bool(seen) and float(binom.sf(len(seen) - 1, asked, MOST_MISSED)) < ALPHA
    share = len(seen) / asked if asked else 0.0
    note = f"{len(seen)} of {asked}" + ("; more than rules miss: read them" if beyond else "")
    checks = [
        Check("known sentences whose intent or spans changed", not changed, float(len(changed)), 0.0, "sentences"),
        Check("new sentences called intent that no rule calls so", not beyond, share, MOST_MISSED, "of them", note),
        Check("new sentences whose spans are not the rules'", True, float(other), unit="sentences", judged=False),
    ]
    return WeakDoubt(checks, [*changed, *(seen if beyond else [])])


def _row(example: Example, before: Weak, why: str) -> dict[str, Any]:
    return {
        "text": example.text,
        "language": example.language,
        "sentiment": "" if example.sentiment == IGNORED else SENTIMENTS[example.sentiment],
        "likelier": f"intent {'yes' if before[0] else 'no'}, spans {before[1]}",
        "why": why,
    }
