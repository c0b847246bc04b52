"""Near-copies of held-out sentences among what is trained on.

The split rule keeps copies that differ in punctuation, blanks and case together (`flashsale.corpora.normal`). A model
that reads texts canonically sees more of them as one: traditional and simplified characters, names, places, emoji. And
a review that was sent twice with a word changed is no new sentence either. Such sentences are left out of the training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from flashsale.corpora.normal import same
from ml.text import reading, scorer
from ml.text.data import Example

ALIKE = 0.8
"""Jaccard similarity of two sentences' character n-grams from which on they count as copies (Broder 1997)."""
_GRAM, _MOST_COMMON = 4, 40
_LEAST_LENGTH = 12
"""Characters below which only the same canonical form is a copy: two short phrases are alike by chance."""


def rule() -> str:
    """SHA-256 of all that decides what a copy is: the numbers above and the canonical reading."""
    given = [ALIKE, _GRAM, _MOST_COMMON, _LEAST_LENGTH, reading.table()]
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()


def copies(train: Sequence[Example], held: Sequence[Example]) -> list[int]:
    """Places in `train` of sentences whose canonical form is that of a `held` one, or nearly."""
    forms, kept = [_form(e.text) for e in train], [_form(e.text) for e in held]
    exact = set(kept)
    found = {at for at, form in enumerate(forms) if form in exact}
    return sorted(found | _near(forms, sorted(exact)))


def without_copies(train: Sequence[Example], held: Sequence[Example]) -> list[Example]:
    """`train` without `copies` of `held`."""
    left_out = set(copies(train, held))
    return [example for at, example in enumerate(train) if at not in left_out]


def _form(text: str) -> str:
    return same(_reader().read(text)[0])


@lru_cache(maxsize=1)
def _reader() -> scorer.Reading:
    return scorer.Reading(None, reading.table())  # type: ignore[arg-type]  # it reads, and cuts nothing


def _near(forms: Sequence[str], held: Sequence[str]) -> set[int]:
    """Places of `forms` that share most n-grams with one of `held`; candidates share one that is rare."""
    from sklearn.feature_extraction.text import CountVectorizer

    long = [at for at, form in enumerate(forms) if len(form) >= _LEAST_LENGTH]
    peers = [form for form in held if len(form) >= _LEAST_LENGTH]
    if not long or not peers:
        return set()
    cut = CountVectorizer(analyzer="char", ngram_range=(_GRAM, _GRAM), binary=True, lowercase=False, dtype=np.int32)
    every = cut.fit_transform([*(forms[at] for at in long), *peers])
    mine, theirs = every[: len(long)], every[len(long) :]
    rare = np.flatnonzero(np.asarray(every.sum(0)).ravel() <= _MOST_COMMON)
    pairs: Any = (mine[:, rare] @ theirs[:, rare].T).tocoo()
    sizes, others = np.asarray(mine.sum(1)).ravel(), np.asarray(theirs.sum(1)).ravel()
    shared = np.asarray(mine[pairs.row].multiply(theirs[pairs.col]).sum(1)).ravel()
    alike = shared / (sizes[pairs.row] + others[pairs.col] - shared)
    return {long[at] for at in pairs.row[alike >= ALIKE]}
