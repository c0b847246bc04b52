"""Terms of clean texts, for the trend tables: words, and two words that stand side by side.

A word that the dictionary does not know falls into single characters (see `words`); as a pair of neighbours it is seen
all the same.
"""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa

from spark_jobs.words import words

#: Raised when terms are chosen differently: earlier days are then counted anew.
VERSION = "1"
#: Longer ones are no words.
LONGEST = 40
#: Letters a term must have: of Chinese, of anything else.
LEAST_HAN, LEAST = 2, 3
_HAN = "\u2e80"


def _is_term(term: str) -> bool:
    least = LEAST_HAN if term[0] >= _HAN else LEAST
    return least <= len(term) <= LONGEST and not term.replace(" ", "").isnumeric()


def _pair(first: str, second: str) -> str:
    return first + second if first[-1] >= _HAN and second[0] >= _HAN else f"{first} {second}"


def terms_of(found: list[str]) -> list[str]:
    """The different terms of a text's words, in order of the alphabet."""
    pairs = (_pair(*two) for two in pairwise(found))
    return sorted({term for term in (*found, *pairs) if _is_term(term)})


def terms(texts: pa.Array, languages: pa.Array) -> pa.Array:
    """The different terms of every text, as lists of strings; null where the text is null.

    Args:
        texts: clean texts.
        languages: `zh`, `en` or `other`, one a text.
    """
    found = [None if row is None else terms_of(row) for row in words(texts, languages).to_pylist()]
    return pa.array(found, pa.list_(pa.string()))
