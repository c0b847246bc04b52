"""Cleaning of shop text as Arrow kernels: one pass a rule over a whole batch, in a linear-time regex engine.

Pure: an Arrow batch in, an Arrow batch out, so the rules are tested without Spark. RE2 cannot be made to backtrack,
so no text can stall a job.
"""

from __future__ import annotations

import html
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from flashsale.identifiers import IDENTIFIERS_FILE, Rule, identifiers

MAX_CHARACTERS = 5000
RULES_FILE = Path(__file__).with_name("cleaning_rules.yaml")

#: Columns that cleaning adds, in order.
CLEANED = pa.schema(
    [
        ("clean_text", pa.string()),
        ("language", pa.string()),
        ("masked", pa.list_(pa.string())),
        ("quarantine_reason", pa.string()),
    ]
)


@cache
def rules() -> tuple[Rule, ...]:
    """The rules of the table, in order; `identifiers` stands for the shared ones."""
    found: list[Rule] = []
    raw: list[Any] = yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))["rules"]
    for entry in raw:
        found.extend(identifiers() if entry == "identifiers" else [Rule.of(entry)])
    return tuple(found)


def rules_text() -> str:
    """Both tables as they are written: what is cleaned again when a rule changes hangs on it."""
    return RULES_FILE.read_text(encoding="utf-8") + IDENTIFIERS_FILE.read_text(encoding="utf-8")


def _nfkc(texts: pa.Array) -> pa.Array:
    """Unicode form NFKC of the texts that are not plain ASCII.

    Arrow's own kernel decomposes whatever form it is asked for (as of pyarrow 25), so Python's is used.
    """
    marked = pc.invert(pc.string_is_ascii(texts))
    if not pc.any(marked).as_py():
        return texts
    composed = [unicodedata.normalize("NFKC", t) for t in texts.filter(marked).to_pylist()]
    return pc.replace_with_mask(texts, marked, pa.array(composed, pa.string()))


def _unescape(texts: pa.Array) -> pa.Array:
    """HTML entities to characters in form NFKC; only texts that hold an ampersand and a semicolon are touched."""
    marked = pc.fill_null(pc.match_substring_regex(texts, r"&[a-zA-Z#][a-zA-Z0-9]{1,30};"), False)
    if not pc.any(marked).as_py():
        return texts
    plain = [unicodedata.normalize("NFKC", html.unescape(t)) for t in texts.filter(marked).to_pylist()]
    fixed = pa.array(plain, pa.string())
    return pc.replace_with_mask(texts, marked, fixed)


def _languages(texts: pa.Array) -> pa.Array:
    """`zh`, `en` or `other` by script: Han characters weigh as two Latin letters; kana and hangul are neither."""
    han = pc.count_substring_regex(texts, r"\p{Han}")
    latin = pc.count_substring_regex(texts, r"[A-Za-z]")
    other = pc.count_substring_regex(texts, r"[\p{Hiragana}\p{Katakana}\p{Hangul}\p{Cyrillic}\p{Arabic}\p{Thai}]")
    weight = pc.multiply(han, 2)
    chinese = pc.and_(pc.greater(weight, 0), pc.and_(pc.greater_equal(weight, latin), pc.greater(weight, other)))
    english = pc.and_(pc.greater(latin, 0), pc.greater(latin, other))
    return pc.if_else(chinese, "zh", pc.if_else(english, "en", "other"))


def _kinds(found: dict[str, pa.Array], rows: int) -> pa.Array:
    """Kinds of identifiers masked in each text, in the order of the rules."""
    flags = {kind: mask.to_pylist() for kind, mask in found.items()}
    return pa.array([[k for k, mask in flags.items() if mask[i]] for i in range(rows)], pa.list_(pa.string()))


def clean_texts(texts: pa.Array) -> pa.RecordBatch:
    """Clean a batch of texts; same rows, same order, columns of `CLEANED`.

    A text that is missing, empty after cleaning, or longer than `MAX_CHARACTERS` has a reason instead of a clean text.
    """
    given = pc.fill_null(texts.cast(pa.string()), "")
    too_long = pc.greater(pc.utf8_length(given), MAX_CHARACTERS)
    now = _unescape(_nfkc(pc.if_else(too_long, "", given)))
    masked: dict[str, pa.Array] = {}
    for rule in rules():
        if rule.mask is not None:
            hit = pc.match_substring_regex(now, rule.pattern)
            masked[rule.mask] = pc.or_(masked[rule.mask], hit) if rule.mask in masked else hit
        now = pc.replace_substring_regex(now, pattern=rule.pattern, replacement=rule.replacement)
    now = pc.utf8_trim_whitespace(now)
    empty = pc.equal(now, "")
    reason = pc.if_else(too_long, "too_long", pc.if_else(empty, "empty", pa.scalar(None, pa.string())))
    clean = pc.if_else(pc.is_valid(reason), pa.scalar(None, pa.string()), now)
    languages = pc.if_else(pc.is_valid(clean), _languages(now), pa.scalar(None, pa.string()))
    return pa.RecordBatch.from_arrays([clean, languages, _kinds(masked, len(now)), reason], schema=CLEANED)
