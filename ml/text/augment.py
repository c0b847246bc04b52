"""More training sentences from those there are: synonyms, deletion, swap, variants, back-translation.

After Wei and Zou 2019 (EDA), with two bounds of our own: words that turn a meaning round (not, never, 不, 没) are
never touched, and neither are demand spans, so that every label of the copy stays true. Copies are made of training
sentences alone and carry the seed of their sentence, so one seed gives one set.
"""

from __future__ import annotations

import hashlib
import random
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import yaml

from flashsale.corpora.normal import identity, normal_text
from flashsale.errors import InputError
from ml.text.config import Augmentation
from ml.text.data import Example
from ml.text.variants import with_variant
from ml.text.weak import demand_spans

SYNONYMS = Path(__file__).parent / "rules" / "synonyms.yaml"
_SHARE = 0.15  # of the words of a sentence that one copy changes
_CLAUSE = re.compile(r"[^,。!?;、,.!?;]+[,。!?;、,.!?;]*\s*")
_WORD = re.compile(r"[A-Za-z']+|\d+")
_FILLER_ZH = re.compile(r"非常|真的|比较|感觉|已经|还是|[的了呢吧啊呀嘛也就都挺太]")
_TURNS = re.compile(
    r"n't\b|\b(?:no|not|never|nor|none|nothing|hardly|without|but|cannot)\b|[不没无未勿莫但]|(?<!特)别|非(?!常)|可是",
    re.I,
)
Pieces = list[tuple[int, int, str | None]]


def augmented(examples: Sequence[Example], how: Augmentation, seed: int) -> list[Example]:
    """Return the copies that `how` asks for, without the originals, none equal to an original or another copy."""
    seen = {identity(example.text) for example in examples}
    made: list[Example] = []
    kinds: tuple[tuple[float, Callable[[Example, random.Random], Example | None]], ...] = (
        (how.synonyms, with_synonyms),
        (how.deletion, with_deletions),
        (how.swap, with_swap),
        (how.variants, with_variant),
    )
    for share, change in kinds:
        for example, dice in _drawn(examples, share, f"{seed} {change.__name__}"):
            copy = change(example, dice)
            if copy is not None and (key := identity(copy.text)) not in seen:
                seen.add(key)
                made.append(copy)
    if how.back_translation:
        drawn = [example for example, _ in _drawn(examples, how.back_translated, f"{seed} back")]
        for copy in back_translated(drawn, how.back_translation):
            if (key := identity(copy.text)) not in seen:
                seen.add(key)
                made.append(copy)
    return made


def with_synonyms(example: Example, dice: random.Random) -> Example | None:
    """A copy with about one word in seven replaced by another of its group, or None where no word is known."""
    table, finder = synonyms(example.language)
    text = example.text
    found = [m for m in finder.finditer(text.lower()) if _free(example, *m.span())]
    if not found or len(text.lower()) != len(text):
        return None
    chosen = dice.sample(found, max(1, min(len(found), round(_SHARE * len(found) * 2))))
    edits: Pieces = [(*m.span(), dice.choice(table[m.group(0)])) for m in chosen]
    return rebuilt(example, edits)


def with_deletions(example: Example, dice: random.Random) -> Example | None:
    """A copy without a few words: any in English, filler words in Chinese, where a character is not a word."""
    finder = _FILLER_ZH if example.language == "zh" else _WORD
    found = [m.span() for m in finder.finditer(example.text) if _free(example, *m.span())]
    count = max(1, round(_SHARE * len(found)))
    if len(found) <= count + 2:
        return None
    return rebuilt(example, [(start, end, "") for start, end in dice.sample(found, count)])


def with_swap(example: Example, dice: random.Random) -> Example | None:
    """A copy with two neighbouring clauses in the other order, or None where there are fewer than two."""
    bounds = [m.span() for m in _CLAUSE.finditer(example.text)]
    places = [
        at
        for at in range(len(bounds) - 1)
        if not any(start < bounds[at][1] < end for start, end in example.spans)
        and not _TURNS.search(example.text[bounds[at][0] : bounds[at + 1][1]])
    ]
    if not places:
        return None
    at = dice.choice(places)
    (first, middle), (_, last) = bounds[at], bounds[at + 1]
    if not example.text[middle:last].strip() or any(s < last < e or s < first < e for s, e in example.spans):
        return None
    pieces: Pieces = [(0, first, None), (middle, last, None), (first, middle, None), (last, len(example.text), None)]
    return _joined(example, pieces)


def back_translated(examples: Sequence[Example], command: str) -> Iterator[Example]:
    """Copies that came back from another language; spans are found anew by the rules, for offsets do not survive.

    `command` reads a sentence a line in UTF-8 and writes one line for each. Raises InputError where it does not.
    """
    if not examples:
        return
    lines = "\n".join(normal_text(example.text) for example in examples) + "\n"
    try:
        done = subprocess.run(shlex.split(command), input=lines, capture_output=True, text=True, check=False)
    except (OSError, ValueError) as error:
        raise InputError(
            "translator", f"it does not start: {error}", "name a program that is installed", field="back_translation"
        ) from error
    answers = done.stdout.splitlines()
    if done.returncode or len(answers) != len(examples):
        problem = f"it ended with {done.returncode} and {len(answers)} lines for {len(examples)} sentences"
        raise InputError("translator", problem, "write one line for every line read", field="back_translation")
    for example, answer in zip(examples, answers, strict=True):
        text = normal_text(answer)
        if text:
            yield replace(example, text=text, spans=tuple(demand_spans(text, example.language)))


@lru_cache(maxsize=4)
def synonyms(language: str) -> tuple[dict[str, list[str]], re.Pattern[str]]:
    """Other words by word, and what finds the words in a lower-case sentence."""
    groups = yaml.safe_load(SYNONYMS.read_text(encoding="utf-8"))[language]
    split = [line.split() if language == "zh" else re.split(r";\s*", line) for line in groups]
    table = {word: [other for other in group if other != word] for group in split for word in group}
    longest_first = "|".join(map(re.escape, sorted(table, key=lambda word: (-len(word), word))))
    return table, re.compile(longest_first if language == "zh" else rf"\b(?:{longest_first})\b")


def _drawn(examples: Sequence[Example], share: float, salt: str) -> Iterator[tuple[Example, random.Random]]:
    """The examples that a share falls on, each with dice of its own: what is drawn depends on nothing else."""
    for example in examples if share else ():
        digest = hashlib.sha256(f"{salt} {example.text}".encode()).digest()
        dice = random.Random(digest)
        if dice.random() < share:
            yield example, dice


def _free(example: Example, start: int, end: int) -> bool:
    """Whether the characters are of no span and turn no meaning round."""
    around = example.text[max(0, start - 1) : end]
    return not _TURNS.search(around) and all(end <= s or start >= e for s, e in example.spans)


def rebuilt(example: Example, edits: Pieces) -> Example | None:
    """The example with each (start, end, words) replaced; spans move along. None where a span would break."""
    pieces: Pieces = []
    at = 0
    for start, end, words in sorted(edits):
        pieces += [(at, start, None), (start, end, words)]
        at = end
    return _joined(example, [*pieces, (at, len(example.text), None)])


def _joined(example: Example, pieces: Pieces) -> Example | None:
    """The example rebuilt of pieces; spans move with the piece they lie in. None where a span would break."""
    words, spans, length = [], [], 0
    for start, end, new in pieces:
        part = example.text[start:end] if new is None else new
        if new is None:
            spans += [(s - start + length, e - start + length) for s, e in example.spans if start <= s and e <= end]
        words.append(part)
        length += len(part)
    text = "".join(words)
    if len(spans) != len(example.spans) or normal_text(text) == "":
        return None
    return replace(example, text=text, spans=tuple(sorted(spans)))
