"""Words that judge: where they stand in a text, and whether they praise or blame (`rules/judging.yaml`).

Short lists of plain words, for a model that reads unlabelled texts first (`ml.text.pretrain`): what a hidden word said
of the goods can often be told from the words around it. They label nothing and nobody is scored by them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from flashsale.errors import InputError
from flashsale.yaml_text import parse_yaml
from ml.text.weak import language_of, longest_first

RULES = Path(__file__).parent / "rules" / "judging.yaml"
_BEFORE = 20  # characters in which a word that turns another round is looked for

Side = Literal["praise", "blame", "neither"]


@dataclass(frozen=True)
class Word:
    """A word's place in a text, from `start` to before `end`, and its side; `neither` where it may be turned round."""

    start: int
    end: int
    side: Side


@dataclass(frozen=True)
class Lists:
    """One language's words by side, in one pattern, and what turns them round."""

    sides: dict[str, Side]
    words: re.Pattern[str]
    turned: re.Pattern[str]


def judging_words(text: str) -> list[Word]:
    """The words of a Chinese (any Chinese character) or English text that judge, in order."""
    lists = load_lists()[language_of(text)]
    found: list[Word] = []
    for match in lists.words.finditer(text):
        before = text[max(0, match.start() - _BEFORE) : match.start()]
        side: Side = "neither" if lists.turned.search(before) else lists.sides[match.group().lower()]
        found.append(Word(match.start(), match.end(), side))
    return found


@lru_cache(maxsize=1)
def load_lists() -> dict[str, Lists]:
    """The lists by language. Raises InputError about a word that stands on both sides."""
    return {name: _lists(name, raw) for name, raw in parse_yaml(RULES.read_text("utf-8"), RULES.name).items()}


def _lists(language: str, raw: dict[str, Any]) -> Lists:
    praise, blame = raw["praise"].split(), raw["blame"].split()
    if both := sorted(set(praise) & set(blame)):
        raise InputError(RULES.name, f"{both[0]!r} praises and blames", "keep one", field=language)
    sides: dict[str, Side] = dict.fromkeys(praise, "praise") | dict.fromkeys(blame, "blame")
    longest = longest_first(sides)
    turns = "|".join(map(re.escape, raw["turns"].split()))
    if language == "zh":
        return Lists(sides, re.compile(longest), re.compile(f"(?:{turns})$"))
    near = rf"(?:\b(?:{turns})|n't)\W*(?:\w+\W+)?$"  # a word may stand between: "not a good idea"
    return Lists(sides, re.compile(rf"\b(?:{longest})\b", re.I), re.compile(near, re.I))
