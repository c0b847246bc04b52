"""Words of clean texts, for counting: Chinese by jieba's dictionary, everything else by its letters."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pyarrow as pa

#: Masks (`<phone>`) and names of emoji (`:thumbs_up:`) are no words of the author.
_NO_WORDS = re.compile(r"<[a-z_]+>|:[^\s:]{2,64}:")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


@cache
def _cutter() -> Any:
    import logging

    import jieba

    jieba.setLogLevel(logging.WARNING)
    jieba.initialize()
    return jieba.lcut


def words(texts: pa.Array, languages: pa.Array) -> pa.Array:
    """Words of every text in order, in lower case, as lists of strings; null where the text is null.

    Args:
        texts: clean texts.
        languages: `zh`, `en` or `other`, one a text; Chinese is cut by dictionary without guessing new words, so that
            the same text always gives the same words.
    """
    found = []
    for text, language in zip(texts.to_pylist(), languages.to_pylist(), strict=True):
        plain = None if text is None else _NO_WORDS.sub(" ", text.lower())
        if plain is not None and language == "zh":
            plain = " ".join(_cutter()(plain, HMM=False))
        found.append(None if plain is None else _WORD.findall(plain))
    return pa.array(found, pa.list_(pa.string()))
