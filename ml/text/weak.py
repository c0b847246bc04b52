"""Weak labels: purchase intent and demand spans from readable rules, for sentences that nobody labelled so.

No public corpus that the platform may ship carries these two labels in Chinese and English, so a table of
rules (`rules/zh.yaml`, `rules/en.yaml`) writes them on real sentences. They are noisy by construction: a
model trained on them learns the rules and, through its encoder, some of what the rules meant. Scores against
them measure agreement with the rules, not with people, and the model card says so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from flashsale.errors import InputError

RULES = Path(__file__).parent / "rules"
WANTED, VETOED, NO_RULE = "wanted", "vetoed", "no rule"
_HAN = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True)
class Rules:
    """One language's compiled table."""

    wanted: re.Pattern[str]
    unwanted: re.Pattern[str]
    words: re.Pattern[str]
    judged: re.Pattern[str]
    not_phrases: frozenset[str]
    not_characters: frozenset[str]
    examples: dict[str, Any]


def longest_first(words: Iterable[str]) -> str:
    """Alternatives of a pattern for any of the words, of which the longest that fits counts."""
    return "|".join(map(re.escape, sorted(set(words), key=lambda word: (-len(word), word))))


@lru_cache(maxsize=4)
def load_rules(language: str) -> Rules:
    """Return the rules of `zh` or `en`. Raises InputError for another language."""
    path = RULES / f"{language}.yaml"
    if not path.is_file():
        raise InputError("weak labels", f"no rules for language {language!r}", "add a file in ml/text/rules")
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    chinese = language == "zh"
    intent, spans = table["intent"], table["spans"]
    separator = r"\s+" if chinese else r";\s*"
    words = [word for line in spans["words"] for word in re.split(separator, line.strip()) if word]
    longest = longest_first(words)
    return Rules(
        wanted=_any(intent["patterns"], chinese),
        unwanted=_any(intent["negations"], chinese),
        words=re.compile(longest if chinese else rf"\b(?:{longest})s?\b"),
        judged=re.compile(spans["before_judgement"]),
        not_phrases=frozenset(re.split(separator, spans["not_phrases"].strip())),
        not_characters=frozenset(spans["not_characters"]),
        examples={"intent": intent["examples"], "spans": spans["examples"]},
    )


def _any(patterns: list[str], chinese: bool) -> re.Pattern[str]:
    joined = "|".join(f"(?:{pattern})" for pattern in patterns)
    return re.compile(joined if chinese else rf"(?<![a-z])(?:{joined})(?![a-z])")


def rules_digest() -> str:
    """SHA-256 of all rule files, recorded with every model trained on their labels."""
    content = b"".join(path.read_bytes() for path in sorted(RULES.glob("*.yaml")))
    return hashlib.sha256(content).hexdigest()


def language_of(text: str) -> str:
    """`zh` where a text has a Chinese character, else `en`."""
    return "zh" if _HAN.search(text) else "en"


def purchase_intent(text: str, language: str) -> int:
    """1 where the writer wants to buy, buys again or tells others to; else 0."""
    return int(intent_stratum(text, language) == WANTED)


def intent_stratum(text: str, language: str) -> str:
    """What the rules say of a text's intent, in a word.

    `wanted` where a line of the table fits, `vetoed` where one of `negations` fits too, else `no rule`.
    """
    rules, lowered = load_rules(language), _lower(text)
    if not rules.wanted.search(lowered):
        return NO_RULE
    return VETOED if rules.unwanted.search(lowered) else WANTED


def demand_spans(text: str, language: str) -> list[tuple[int, int]]:
    """Return (start, end) character offsets in `text`, ascending and apart.

    Spans that touch, or that only blanks part, are one: the tags `O` and `P` cannot tell them apart. `text` is in
    normal form, where lower case keeps every offset.
    """
    rules, lowered = load_rules(language), _lower(text)
    found = [match.span() for match in rules.words.finditer(lowered)]
    found += [match.span(1) for match in rules.judged.finditer(lowered) if _is_phrase(match.group(1), rules)]
    return merge_spans(text, found)


def merge_spans(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join spans that overlap, touch, or have only blanks between them."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and (start <= merged[-1][1] or not text[merged[-1][1] : start].strip()):
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _is_phrase(phrase: str, rules: Rules) -> bool:
    if rules.not_characters & set(phrase):
        return False
    parts = {phrase, *phrase.split()}
    return not parts & rules.not_phrases and not any(
        phrase.startswith(word) or phrase.endswith(word) for word in rules.not_phrases if not word.isascii()
    )


def _lower(text: str) -> str:
    """Lower case, character by character, so that offsets stay (`İ` alone would become two)."""
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)
