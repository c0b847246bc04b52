"""The attack suite: how much of its score a text model loses to what people do to words.

Each attack is a function of a sentence alone: its choices are drawn from the hash of the sentence and a seed, so the
same sentence is always hit in the same places. The tables are in `checks/attacks.yaml`, written for this repository.

- `homophones` (Chinese): up to two words become words of the same sound or look (Li et al. 2019, TextBugger).
- `traditional` (Chinese): every simplified character becomes its traditional form.
- `typos` (English): a word in eight is misspelled as people do, or gets a slip of the finger (Belinkov and Bisk 2018).
- `emoji_added`: two emoji that say nothing about the goods; `emoji_for_word`: a word of judgement becomes its emoji.
- `negation`: pairs of a sentence and its negation; the answer must flip (Ribeiro et al. 2020, CheckList).
- `sarcasm`: accuracy on sentences that say the opposite of what is meant; reported, since no small model reads them.

A loss is over the sentences that the attack changes, since the others can lose nothing and would only thin it.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import yaml

from ml.text.data import SENTIMENTS, Example
from ml.text.verdict import Check

if TYPE_CHECKING:
    import pandas as pd

TABLES = Path(__file__).parent / "checks" / "attacks.yaml"
_MOST_HOMOPHONES, _WORDS_A_TYPO, _ADDED = 2, 8, 2
_SHORT = {"n": "negative", "p": "positive"}
_WORD = re.compile(r"[A-Za-z']+")


class Reader(Protocol):
    """Whatever gives each text `sentiment`, `p_negative`, `p_neutral`, `p_positive`, `p_intent` and `spans`."""

    def score(self, texts: Sequence[str | None]) -> pd.DataFrame:
        """One row a text, in order."""


@dataclass(frozen=True)
class Tables:
    """The compiled tables of the attacks."""

    allowed: dict[str, float]
    homophones: dict[str, list[str]]
    traditional: dict[int, str]
    misspellings: dict[str, list[str]]
    keys: dict[str, str]
    emoji_added: list[str]
    emoji: dict[str, dict[str, str]]
    negation: dict[str, list[tuple[str, str, str, str]]]
    sarcasm: dict[str, list[tuple[str, str]]]


@lru_cache(maxsize=1)
def tables() -> Tables:
    """Read `checks/attacks.yaml`."""
    raw = yaml.safe_load(TABLES.read_text(encoding="utf-8"))
    flat = "".join(raw["traditional"])
    return Tables(
        allowed={name: float(value) for name, value in raw["allowed"].items()},
        homophones=_choices(raw["homophones"]),
        traditional={ord(a): b for a, b in zip(flat[::2], flat[1::2], strict=True)},
        misspellings=_choices(raw["misspellings"]),
        keys={key: found[0] for key, found in _choices(raw["keys"]).items()},
        emoji_added=raw["emoji"]["added"].split(),
        emoji={lang: {w: f[0] for w, f in _choices([raw["emoji"][lang]]).items()} for lang in ("zh", "en")},
        negation={lang: [tuple(row) for row in rows] for lang, rows in raw["negation"].items()},
        sarcasm={lang: [tuple(row) for row in rows] for lang, rows in raw["sarcasm"].items()},
    )


def _choices(lines: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in (part for line in lines for part in line.split(";")):
        right, wrong = entry.split()
        found.setdefault(right, []).append(wrong)
    return found


def _dice(text: str, seed: int) -> random.Random:
    return random.Random(hashlib.sha256(f"{seed} {text}".encode()).digest())


def homophones(text: str, seed: int = 0) -> str:
    """Up to two words of the table in `text` become a wrong word of the same sound; without one, it stays as it is."""
    dice, table = _dice(text, seed), tables().homophones
    words = [word for word in table if word in text]
    for word in dice.sample(words, min(_MOST_HOMOPHONES, len(words))):
        text = text.replace(word, dice.choice(table[word]), 1)
    return text


def traditional(text: str, seed: int = 0) -> str:
    """Every simplified character of the table becomes its traditional form."""
    return text.translate(tables().traditional)


def typos(text: str, seed: int = 0) -> str:
    """One English word in eight, at least one, is misspelled: by the table where it has the word, else by a slip."""
    dice, table = _dice(text, seed), tables().misspellings
    words = [m for m in _WORD.finditer(text) if len(m.group()) > 3 or m.group().lower() in table]
    if not words:
        return text
    count = max(1, len(_WORD.findall(text)) // _WORDS_A_TYPO)
    for match in sorted(dice.sample(words, min(count, len(words))), key=lambda m: -m.start()):
        wrong = dice.choice(table.get(match.group().lower(), [""])) or _slip(match.group(), dice)
        text = text[: match.start()] + wrong + text[match.end() :]
    return text


def _slip(word: str, dice: random.Random) -> str:
    """A swap, a loss, a doubling or a neighbouring key, inside the word: its first letter is seldom wrong."""
    at = dice.randrange(1, len(word) - 1)
    kind = dice.randrange(4)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    if kind == 2:
        return word[:at] + word[at] + word[at:]
    near = tables().keys.get(word[at].lower(), word[at])
    return word[:at] + dice.choice(near) + word[at + 1 :]


def emoji_added(text: str, seed: int = 0) -> str:
    """Two emoji at the end that say nothing about the goods."""
    return text + "".join(_dice(text, seed).sample(tables().emoji_added, _ADDED))


def emoji_for_word(text: str, seed: int = 0) -> str:
    """One word of judgement, where there is one, becomes its emoji."""
    found = [(word, face, word) for word, face in tables().emoji["zh"].items()]
    found += [(word, face, rf"\b{word}\b") for word, face in tables().emoji["en"].items()]
    fitting = [(pattern, face) for word, face, pattern in found if word in text and re.search(pattern, text)]
    if not fitting:
        return text
    pattern, face = _dice(text, seed).choice(fitting)
    return re.sub(pattern, face, text, count=1)


ATTACKS: dict[str, tuple[tuple[str, ...], Callable[[str, int], str]]] = {
    "homophones": (("zh",), homophones),
    "traditional": (("zh",), traditional),
    "typos": (("en",), typos),
    "emoji_added": (("zh", "en"), emoji_added),
    "emoji_for_word": (("zh", "en"), emoji_for_word),
}


def attack_suite(scorer: Reader, examples: Sequence[Example], seed: int = 0, *, sample: int = 300) -> dict[str, Any]:
    """Attack the first `sample` examples of each language and return what was lost.

    `load_examples` orders by hash, so the first are a fair and fixed sample. The answer is
    `{"attacks": {name: {"before", "after", "loss", "sentences", "languages"}}, "negation": {"pairs", "flipped",
    "right", …}, "sarcasm": {"sentences", "accuracy", …}}`: macro-F1 0 to 1, mean of the languages, over the sentences
    that the attack changed; `loss` in points; shares 0 to 1.
    """
    chosen = {lang: [e for e in examples if e.language == lang][:sample] for lang in ("zh", "en")}
    changed = {
        (name, lang): [(e, hit) for e in chosen[lang] if (hit := attack(e.text, seed)) != e.text]
        for name, (languages, attack) in ATTACKS.items()
        for lang in languages
    }
    named = tables()
    texts = [text for pairs in changed.values() for e, hit in pairs for text in (e.text, hit)]
    texts += [t for rows in named.negation.values() for row in rows for t in (row[1], row[3])]
    texts += [t for rows in named.sarcasm.values() for _, t in rows]
    distinct = list(dict.fromkeys(texts))
    answers = dict(zip(distinct, scorer.score(distinct)["sentiment"], strict=True))
    attacks = {name: _lost(changed, name, answers) for name in ATTACKS}
    return {"attacks": attacks, "negation": _negation(answers), "sarcasm": _sarcasm(answers), "sample": sample}


def _lost(
    changed: Mapping[tuple[str, str], Sequence[tuple[Example, str]]], name: str, answers: Mapping[str, str]
) -> dict[str, Any]:
    from ml.text.evaluate import macro_f1

    sides: dict[str, tuple[float, float]] = {}
    for lang in ATTACKS[name][0]:
        pairs = changed[name, lang]
        if not pairs:
            continue
        truth = [e.sentiment for e, _ in pairs]
        before = macro_f1(truth, [SENTIMENTS.index(answers[e.text]) for e, _ in pairs])
        after = macro_f1(truth, [SENTIMENTS.index(answers[hit]) for _, hit in pairs])
        sides[lang] = before, after
    before, after = (sum(s[at] for s in sides.values()) / max(len(sides), 1) for at in (0, 1))
    return {
        "before": round(before, 4),
        "after": round(after, 4),
        "loss": round(100 * (before - after), 2),
        "sentences": sum(len(changed[name, lang]) for lang in sides),
        "languages": {lang: round(100 * (b - a), 2) for lang, (b, a) in sides.items()},
    }


def _negation(answers: Mapping[str, str]) -> dict[str, Any]:
    """`flipped`: the two answers are opposite in the direction given; `right` counts single sentences."""
    rows = [(lang, row) for lang, found in tables().negation.items() for row in found]
    flips = [answers[r[1]] == _SHORT[r[0]] and answers[r[3]] == _SHORT[r[2]] for _, r in rows]
    hits = [answers[r[at + 1]] == _SHORT[r[at]] for _, r in rows for at in (0, 2)]
    by = {lang: _share([f for f, (x, _) in zip(flips, rows, strict=True) if x == lang]) for lang in tables().negation}
    return {"pairs": len(rows), "flipped": _share(flips), "right": _share(hits), "languages": by}


def _sarcasm(answers: Mapping[str, str]) -> dict[str, Any]:
    hits = {lang: [answers[t] == _SHORT[k] for k, t in rows] for lang, rows in tables().sarcasm.items()}
    every = [hit for found in hits.values() for hit in found]
    by = {lang: _share(found) for lang, found in hits.items()}
    return {"sentences": len(every), "accuracy": _share(every), "languages": by}


def _share(hits: Sequence[bool]) -> float:
    return round(sum(hits) / max(len(hits), 1), 4)


def attack_checks(found: Mapping[str, Any]) -> list[Check]:
    """The suite's result against the allowances of `checks/attacks.yaml`; sarcasm is told, not judged."""
    allowed = tables().allowed
    checks = [
        Check(
            f"loss to {name.replace('_', ' ')}",
            lost["loss"] <= allowed[name],
            lost["loss"],
            allowed[name],
            "points",
            f"{lost['sentences']} sentences changed",
        )
        for name, lost in found["attacks"].items()
    ]
    pairs, told = found["negation"], found["sarcasm"]
    least = allowed["negation"]
    words = f"of {pairs['pairs']} pairs, at least {least:g} must"
    checks.append(Check("negation pairs that flip", pairs["flipped"] >= least, pairs["flipped"], None, "", words))
    told_words = f"of {told['sentences']} sentences, told and not judged"
    return [*checks, Check("accuracy on sarcasm", True, told["accuracy"], note=told_words, judged=False)]
