"""Identifiers of people in running text: one table of patterns for everyone who has to hide them.

The engine is RE2 through Arrow: it cannot be made to backtrack, so no text can stall a job or a log line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from flashsale.errors import InputError

IDENTIFIERS_FILE = Path(__file__).with_name("identifiers.yaml")


@dataclass(frozen=True)
class Rule:
    """One replacement; `mask` names the kind of identifier it hides, None where it hides none.

    A text that the pattern matches holds one of `needs` and one of `also` in lower case (empty: no such literal) and a
    span with at least `digits` digits: a quick look at the text rules most rules out. `check` names a test that a match
    must pass beside.
    """

    name: str
    pattern: str
    replacement: str
    mask: str | None
    example: tuple[str, str]
    needs: tuple[str, ...] = ()
    digits: int = 0
    check: str | None = None
    also: tuple[str, ...] = ()

    @classmethod
    def of(cls, raw: Mapping[str, Any], parts: Mapping[str, str] | None = None) -> Rule:
        """A rule as it stands in a table: name, pattern, with, mask, example {in, out}, needs, also,
        digits, check.

        `{{name}}` in a pattern stands for the part of that name.
        """
        pattern = raw["pattern"]
        for name, part in (parts or {}).items():
            pattern = pattern.replace("{{" + name + "}}", part)
        if raw.get("check") not in (None, *CHECKS):
            raise InputError(f"rule {raw['name']}", f"unknown check {raw['check']}", f"use one of {', '.join(CHECKS)}")
        example = raw["example"]["in"], raw["example"]["out"]
        return cls(
            raw["name"],
            pattern,
            raw["with"],
            raw.get("mask"),
            example,
            tuple(raw.get("needs", ())),
            raw.get("digits", 0),
            raw.get("check"),
            tuple(raw.get("also", ())),
        )


def luhn(number: str) -> bool:
    """Whether the digits of a card number end in their check digit (ISO/IEC 7812-1, annex B)."""
    digits = [int(c) for c in number if c.isdigit()][::-1]
    doubled = [d if i % 2 == 0 else 2 * d - 9 * (d > 4) for i, d in enumerate(digits)]
    return sum(doubled) % 10 == 0


#: Numbers that the first letters of Taiwan's identity numbers stand for, from 10 on.
TAIWAN_LETTERS = "ABCDEFGHJKLMNPQRSTUVXYWZIO"


def taiwan(number: str) -> bool:
    """Whether an identity number of Taiwan, a letter and nine digits, ends in its check digit."""
    tens, ones = divmod(TAIWAN_LETTERS.index(number[0]) + 10, 10)
    digits = [tens, ones, *map(int, number[1:])]
    weights = (1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1)
    return sum(d * w for d, w in zip(digits, weights, strict=True)) % 10 == 0


CHECKS = {"luhn": luhn, "taiwan": taiwan}


@cache
def identifiers() -> tuple[Rule, ...]:
    """The rules of the table, in order."""
    table = yaml.safe_load(IDENTIFIERS_FILE.read_text(encoding="utf-8"))
    return tuple(Rule.of(raw, table["parts"]) for raw in table["rules"])


def replace(texts: pa.Array, rule: Rule) -> pa.Array:
    """Texts with every match of the rule replaced."""
    if rule.check is None:
        return pc.replace_substring_regex(texts, pattern=rule.pattern, replacement=rule.replacement)
    found = pc.match_substring_regex(texts, rule.pattern)
    if not pc.any(found).as_py():
        return texts
    passes, pattern = CHECKS[rule.check], re.compile(rule.pattern, re.ASCII)
    new = [
        pattern.sub(lambda m: m.expand(rule.replacement) if passes(m[0]) else m[0], text)
        for text in texts.filter(found).to_pylist()
    ]
    return pc.replace_with_mask(texts, found, pa.array(new, texts.type))


def mask_identifiers(text: str) -> str:
    """`text` in Unicode form NFKC with every known kind of identifier replaced by its name, as in `<phone>`.

    Half a surrogate pair, which no UTF-8 can hold, becomes a question mark.
    """
    plain = unicodedata.normalize("NFKC", text).encode("utf-8", "replace").decode()
    for rule in identifiers():
        if may_match(plain, rule):
            plain = str(replace(pa.array([plain], pa.string()), rule)[0].as_py())
    return plain


def may_match(text: str, rule: Rule) -> bool:
    """Whether one look at a text leaves a rule in play; Arrow makes a pattern ready anew for each call of `replace`.

    For one text what `spark_jobs.gates` does for an array of them by compiled passes, which cost more to begin.
    """
    if rule.digits > sum(map(str.isdigit, text)):
        return False
    lowered = text.lower()
    return all(not words or any(word in lowered for word in words) for words in (rule.needs, rule.also))
