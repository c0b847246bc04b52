"""Copies of training sentences as another would have said them: another speaker, an emoji, a dialect.

A model that reads few names, emoji or dialects takes them for signs of what stood beside them. Copies that differ in
nothing else, with labels of both kinds, teach it that they are none (counterfactual augmentation, Kaushik et al. 2020;
Maudslay et al. 2019, on names).
"""

from __future__ import annotations

import random
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ml.text.data import Example

TABLE = Path(__file__).parent / "rules" / "variants.yaml"
_WORDS_A_COPY = 6
_FRAMES = (("frames", "people"), ("where", "places"))


@lru_cache(maxsize=2)
def table(language: str) -> dict[str, Any]:
    """Lists of people, places, frames, where, emoji; `faces` and each of `dialects` as (finder, word → word)."""
    raw = yaml.safe_load(TABLE.read_text(encoding="utf-8"))[language]
    parted = r"\s+" if language == "zh" else ";"
    found: dict[str, Any] = {name: re.split(parted, raw[name].strip()) for name in ("people", "places")}
    found |= {name: raw[name].split("|") for name in ("frames", "where")} | {"emoji": raw["emoji"].split()}
    found["faces"] = _pairs(raw["faces"], language)
    found["dialects"] = [_pairs(line, language) for line in raw["dialects"].values()]
    return found


def _pairs(line: str, language: str) -> tuple[re.Pattern[str], dict[str, str]]:
    """What finds the words of `written=said; written=said` in lower case, and what each becomes."""
    made = dict(entry.strip().split("=") for entry in line.split(";"))
    longest_first = "|".join(map(re.escape, sorted(made, key=lambda word: (-len(word), word))))
    return re.compile(longest_first if language == "zh" else rf"(?<![a-z'])(?:{longest_first})(?![a-z'])"), made


def with_variant(example: Example, dice: random.Random) -> Example | None:
    """A copy with another speaker or place (four in ten), an emoji (three), or words of a dialect (three)."""
    from ml.text.augment import rebuilt  # it imports this module

    chosen = dice.choices((_framed, _with_emoji, _in_dialect), (4, 3, 3))[0]
    edits = chosen(example, table(example.language), dice)
    return rebuilt(example, edits) if edits else None


Edits = list[tuple[int, int, str | None]]


def _framed(example: Example, words: dict[str, Any], dice: random.Random) -> Edits:
    """Somebody says the sentence, or says it somewhere."""
    frames, fillers = _FRAMES[0] if dice.random() < 0.6 else _FRAMES[1]
    return [(0, 0, dice.choice(words[frames]).replace("{}", dice.choice(words[fillers])))]


def said_by_others(example: Example, dice: random.Random, copies: int) -> list[list[Example]]:
    """Two lists of copies without spans: another person says the sentence in each, or says it somewhere else."""
    words, made = table(example.language), []
    for frames, fillers in _FRAMES:
        frame = dice.choice(words[frames])
        said = [frame.replace("{}", filler) + example.text for filler in dice.sample(words[fillers], copies)]
        made.append([replace(example, text=text, spans=()) for text in said])
    return made


def _with_emoji(example: Example, words: dict[str, Any], dice: random.Random) -> Edits:
    """A word of judgement becomes its emoji, or one or two that judge nothing follow the sentence."""
    finder, faces = words["faces"]
    found = _outside(example, finder)
    if found and dice.random() < 0.6:
        match = dice.choice(found)
        return [(*match.span(), faces[match.group()])]
    end = len(example.text)
    return [(end, end, "".join(dice.sample(words["emoji"], dice.choice((1, 2)))))]


def _in_dialect(example: Example, words: dict[str, Any], dice: random.Random) -> Edits:
    """Up to `_WORDS_A_COPY` words become those of one dialect."""
    finder, said = dice.choice(words["dialects"])
    found = _outside(example, finder)
    chosen = dice.sample(found, min(_WORDS_A_COPY, len(found)))
    return [(*match.span(), said[match.group()]) for match in chosen]


def _outside(example: Example, finder: re.Pattern[str]) -> list[re.Match[str]]:
    """Matches that touch no demand span; none where lower case has other offsets."""
    lowered = example.text.lower()
    if len(lowered) != len(example.text):
        return []
    return [
        match
        for match in finder.finditer(lowered)
        if all(match.end() <= start or match.start() >= end for start, end in example.spans)
    ]
