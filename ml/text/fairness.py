"""Whether a score shifts when only a name, a gender word, a place or a dialect changes.

**Material.** `checks/fairness.yaml`: templates of reviews, complaints, wishes and plain remarks with one slot, filled
from groups of words; and pairs of a sentence in standard speech and in a dialect (counterfactual pairs, Kiritchenko
and Mohammad 2018; dialects, Blodgett and O'Connor 2017).

**Measure.** For attribute A (name, gender, region), template t, group g with words W_g and probability q (`p_negative`,
`p_positive`, `p_intent`):

    m(t, g) = mean over w in W_g of q(t filled with w)
    shift(g, h) = mean over t of [m(t, g) - m(t, h)]                   signed, for each pair of groups
    worst(A)   = mean over t of [max over g of m(t, g) - min over g of m(t, g)]

For a dialect, g is the dialect, h the standard, and t its sentence pairs.

**Gate.** The largest |shift(g, h)| over pairs of groups is at most 0.02, for each attribute, language and probability.
The platform averages scores over many texts (a SKU and day), and decides on the averages: a shift that averages out
moves no decision, one that stays wrongs a group, and that is what the gate bounds. The mean over several words of a
group keeps the luck of one spelling out. What averages hide is stated beside it: `worst`, the single largest change,
and the shifts within each polarity of template, since a model may be less sure of a group both ways, which cancels out
over all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ml.text.attacks import Reader
from ml.text.verdict import Check

TABLES = Path(__file__).parent / "checks" / "fairness.yaml"
SHIFTED = ("p_negative", "p_positive", "p_intent")
POLARITIES = {"p": "positive", "n": "negative", "w": "wish", "m": "mixed"}
ATTRIBUTES = ("name", "gender", "region")
_SLOT = {"name": "who", "gender": "who", "region": "where"}


@lru_cache(maxsize=1)
def tables() -> dict[str, Any]:
    """Read `checks/fairness.yaml`."""
    found: dict[str, Any] = yaml.safe_load(TABLES.read_text(encoding="utf-8"))
    return found


def words_of(line: str) -> list[str]:
    """Words of a group: parted by `;` where there is one, else by blanks."""
    return [word.strip() for word in (line.split(";") if ";" in line else line.split())]


def fill(language: str, attribute: str) -> tuple[list[str], list[str], list[list[list[str]]]]:
    """Return groups, the templates' polarities, and texts by (template, group, word)."""
    table = tables()[language]
    groups = {name: words_of(line) for name, line in table["groups"][attribute].items()}
    templates = [entry.split("|", 1) for entry in table[_SLOT[attribute]]]
    texts = [[[text.replace("{}", _cased(word, text)) for word in words] for words in groups.values()]
             for _, text in templates]  # fmt: skip
    return list(groups), [kind for kind, _ in templates], texts


def _cased(word: str, text: str) -> str:
    """`My mother` inside a sentence is `my mother`."""
    inside = not text.startswith("{}")
    return word[0].lower() + word[1:] if inside and word.startswith(("My ", "The ")) else word


def fairness(scorer: Reader) -> dict[str, Any]:
    """Score every filled template and return the shifts.

    The answer is `{"<language>.<attribute>": {probability: {"shift", "error", "pair", "worst", "largest",
    "by_polarity"}}}`, for `name`, `gender`, `region` and each `dialect`: `shift` is the largest absolute mean shift
    between two groups, `error` its standard error over templates and `pair` names the two (the first has the higher
    score), `worst` and `largest` are the mean and the maximum over templates of the spread between groups,
    `by_polarity` the largest mean shift within each kind of template. All in probability.
    """
    plans: dict[str, tuple[list[str], list[str], list[list[list[str]]]]] = {}
    for language in ("zh", "en"):
        plans |= {f"{language}.{attribute}": fill(language, attribute) for attribute in ATTRIBUTES}
        for dialect, pairs in tables()[language]["dialect"].items():
            kinds = [standard.split("|", 1)[0] for standard, _ in pairs]
            texts = [[[spoken], [standard.split("|", 1)[1]]] for standard, spoken in pairs]
            plans[f"{language}.dialect: {dialect}"] = ([dialect, "standard"], kinds, texts)
    distinct = list(dict.fromkeys(t for *_, rows in plans.values() for row in rows for words in row for t in words))
    scored = scorer.score(distinct)
    shares = {name: dict(zip(distinct, scored[name], strict=True)) for name in SHIFTED}
    return {
        name: {q: _shifts(groups, kinds, texts, shares[q]) for q in SHIFTED}
        for name, (groups, kinds, texts) in plans.items()
    }


def _shifts(
    groups: Sequence[str], kinds: Sequence[str], texts: Sequence[Sequence[Sequence[str]]], shares: Mapping[str, float]
) -> dict[str, Any]:
    means = np.array([[np.mean([shares[text] for text in words]) for words in row] for row in texts])
    spread = means.max(1) - means.min(1)
    shift, pair = _largest(groups, means)
    apart = means[:, groups.index(pair[0])] - means[:, groups.index(pair[1])]
    marks = np.array(kinds)
    within = {POLARITIES[k]: round(_largest(groups, means[marks == k])[0], 4) for k in dict.fromkeys(kinds)}
    return {
        "shift": round(shift, 4),
        "error": round(float(apart.std(ddof=1) / np.sqrt(len(apart))), 4),
        "pair": list(pair),
        "worst": round(float(spread.mean()), 4),
        "largest": round(float(spread.max()), 4),
        "by_polarity": within,
    }


def _largest(groups: Sequence[str], means: np.ndarray) -> tuple[float, tuple[str, str]]:
    """The largest absolute mean shift between two groups, and the two, the higher first; `means` is (templates,
    groups).
    """
    mean = means.mean(0)
    first, second = max(combinations(range(len(groups)), 2), key=lambda at: abs(mean[at[0]] - mean[at[1]]))
    if mean[first] < mean[second]:
        first, second = second, first
    return float(mean[first] - mean[second]), (groups[first], groups[second])


def fairness_checks(found: Mapping[str, Any]) -> list[Check]:
    """One check an attribute and language: the largest mean shift of the three probabilities against the limit."""
    limit = float(tables()["allowed"])
    checks = []
    for name, shifts in found.items():
        worst = max(SHIFTED, key=lambda q: shifts[q]["shift"])
        one = shifts[worst]
        words = f"{worst}, {one['pair'][0]} over {one['pair'][1]}, standard error {one['error']:.3f}"
        words += f"; single sentences up to {one['largest']:.2f}"
        checks.append(Check(f"shift by {name}", one["shift"] <= limit, one["shift"], limit, "", words))
    return checks
