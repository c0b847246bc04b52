"""Normal forms of a sentence: what is kept as its text, and what decides whether two are the same."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_SPACE = re.compile(r"\s+")
_TEST_SHARE = 10
_VALID_SHARE = 10


class _Keep(dict[int, int | None]):
    """A table for `str.translate` that decides a character once, by its Unicode category."""

    def __init__(self, dropped: str, blanks_stay: bool) -> None:
        super().__init__()
        self._dropped = tuple(dropped.split())
        self._blanks_stay = blanks_stay

    def __missing__(self, code: int) -> int | None:
        blank = self._blanks_stay and chr(code) in "\t\n\r "
        drop = not blank and unicodedata.category(chr(code)).startswith(self._dropped)
        self[code] = None if drop else code
        return self[code]


_VISIBLE = _Keep("Cc Cf Co", blanks_stay=True)
_MEANING = _Keep("C M P Z", blanks_stay=False)


def normal_text(text: str) -> str:
    """Return `text` in Unicode NFKC with control characters removed and runs of white space made one blank.

    NFKC folds full-width letters, digits and punctuation to their narrow forms, which web reviews mix.
    """
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text).translate(_VISIBLE)).strip()


def identity(text: str) -> str:
    """Return what two copies of one sentence share: its letters, digits and symbols, in lower case.

    Punctuation and blanks are left out, so "很好!!" and "很好。" are one sentence and land in one split.
    Symbols stay: an emoji alone can be the whole opinion.
    """
    return unicodedata.normalize("NFKC", text).lower().translate(_MEANING)


def same(text: str) -> str:
    """As `identity`, but a text of punctuation alone is what it is: ":)" is not ":(", though both mean no word."""
    return identity(text) or normal_text(text)


def split_of(text: str) -> str:
    """Return `train` (80 %), `valid` (10 %) or `test` (10 %) for a sentence.

    The bucket is the SHA-256 of `identity(text)` modulo 100: it depends on nothing but the sentence, so
    adding or removing a corpus moves no other sentence, and copies of one sentence never cross.
    """
    bucket = int.from_bytes(hashlib.sha256(identity(text).encode()).digest()[:8], "big") % 100
    if bucket < _TEST_SHARE:
        return "test"
    return "valid" if bucket < _TEST_SHARE + _VALID_SHARE else "train"
