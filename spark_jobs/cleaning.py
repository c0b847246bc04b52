"""Cleaning of shop text: a whole batch at a time, each byte read a few times, in time linear in the text.

Pure: an Arrow array in, an Arrow batch out, so the rules are tested without Spark. Characters are normalised by
one compiled pass; a second one tells which patterns a text may match, so that RE2, which cannot be made to backtrack,
runs a pattern over the few texts it concerns.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from numpy.typing import NDArray

from flashsale.identifiers import IDENTIFIERS_FILE, Rule, identifiers, replace
from flashsale.simplified import readable, simplified, simplifier
from spark_jobs import kernels
from spark_jobs.arrow import as_strings, buffers, only, put
from spark_jobs.characters import WINDOWS, characters
from spark_jobs.gates import candidates, may_match
from spark_jobs.languages import languages
from spark_jobs.rows import Rows

MAX_CHARACTERS = 5000
RULES_FILE = Path(__file__).with_name("cleaning_rules.yaml")
#: Rows cleaned at once: enough to drown the cost of making ready every pattern.
SLICE = 262_144
#: Bytes cleaned at once: what a thread may hold several times over.
SLICE_BYTES = 64_000_000
#: Fewer rows are not worth another thread.
_FEW = 10_000
#: A text that was escaped more often keeps its last entities.
_ROUNDS = 3

#: Columns that cleaning adds, in order.
CLEANED = pa.schema(
    [
        ("clean_text", pa.string()),
        ("language", pa.string()),
        ("masked", pa.list_(pa.string())),
        ("sentences", pa.int32()),
        ("quarantine_reason", pa.string()),
    ]
)


@dataclass(frozen=True)
class Options:
    """What may be chosen: traditional Chinese made simplified, emoji left as they are."""

    simplify: bool = False
    keep_emoji: bool = False


@cache
def table() -> dict[str, Any]:
    """The table of rules as it is written."""
    found: dict[str, Any] = yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))
    return found


@cache
def rules() -> tuple[Rule, ...]:
    """The patterns of the table, in order; `identifiers` stands for the shared ones."""
    found: list[Rule] = []
    for entry in table()["rules"]:
        found.extend(identifiers() if entry == "identifiers" else [Rule.of(entry)])
    return tuple(found)


@cache
def kinds() -> tuple[str, ...]:
    """Kinds of identifiers that are masked, in the order of the rules."""
    return tuple(dict.fromkeys(rule.mask for rule in rules() if rule.mask))


def rules_text() -> str:
    """Both tables as they are written: what is cleaned again when a rule changes hangs on it."""
    return RULES_FILE.read_text(encoding="utf-8") + IDENTIFIERS_FILE.read_text(encoding="utf-8")


@cache
def _traditional() -> NDArray[np.uint8]:
    """1 for every Chinese character that has a simplified form."""
    marks = np.zeros(0x110000, np.uint8)
    marks[[ord(char) for char in simplified()]] = 1
    return marks


@cache
def _turned_back() -> dict[int, str]:
    """Characters by simplified forms that nothing can read, for which they stay."""
    forms = simplified().items()
    return {ord(new): char for char, new in forms if readable(char) and len(new) == 1 and not readable(new)}


def _pass(texts: pa.Array, options: Options) -> tuple[pa.Array, NDArray[np.uint8]]:
    """One run of `kernels.normalise`."""
    c = characters()
    tables = c.kind, c.start, c.size, c.chars, c.flags, c.entity_hashes, c.entity_chars, WINDOWS
    ends, data, flags = kernels.normalise(*buffers(texts), *tables, not options.keep_emoji, MAX_CHARACTERS)
    return as_strings(ends, data), flags


def normalise(texts: pa.Array, options: Options) -> tuple[pa.Array, NDArray[np.uint8]]:
    """Texts after the rules under `characters`, and the flags of the kernel's first pass."""
    now, flags = _pass(texts, options)
    left = flags
    for _ in range(_ROUNDS - 1):
        open_rows = np.flatnonzero(left & (kernels.ESCAPED | kernels.HARD_ROW))
        if len(open_rows) == 0:
            break
        # Arrow's own NFKC kernel decomposes whatever form it is asked for (pyarrow 25), so Python's is used
        composed = [unicodedata.normalize("NFKC", t) for t in now.take(pa.array(open_rows)).to_pylist()]
        new, found = _pass(pa.array(composed, pa.string()), options)
        now = put(now, open_rows, new)
        left = np.zeros_like(flags)
        left[open_rows] = found & kernels.ESCAPED
        flags[open_rows] |= found & ~np.uint8(kernels.HARD_ROW)
    if options.simplify:
        rows = np.flatnonzero(kernels.any_marked(*buffers(now), _traditional()))
        if len(rows):
            # no text holds a line break any more, so that one call converts them all
            plain = simplifier().convert("\n".join(now.take(pa.array(rows)).to_pylist()))
            plain = plain.translate(_turned_back()).split("\n")
            now = put(now, rows, pa.array(plain, pa.string()))
    return now, flags


def mask(texts: pa.Array) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Texts after the patterns of the table, tidied, and what was masked in each (rows x kinds)."""
    found = np.zeros((len(texts), len(kinds())), bool)
    touched = np.zeros(len(texts), bool)
    every = rules()
    bits, digits = candidates(every, *buffers(texts))
    now = Rows(texts)
    for index, rule in enumerate(every):
        asked = np.flatnonzero(may_match(every, index, bits, digits))
        if len(asked) == 0:
            continue
        before = now.take(asked)
        after = replace(before, rule)
        differs = pc.not_equal(before, after)
        hit = asked[differs.to_numpy(zero_copy_only=False)]
        if len(hit) == 0:
            continue
        new = after.filter(differs)
        now.put(hit, new)
        touched[hit] = True
        if rule.mask:
            found[hit, kinds().index(rule.mask)] = True
        else:  # what was cut may have brought parts together; a mask keeps them apart
            bits[hit], digits[hit] = candidates(every, *buffers(new))
    return now.tidied(touched), found


def _masked(found: NDArray[np.bool_]) -> pa.Array:
    """Names of the kinds found in every text."""
    offsets = np.concatenate([[0], found.sum(axis=1).cumsum()]).astype(np.int32)
    names = pa.array(kinds()).take(pa.array(np.nonzero(found)[1]))
    return pa.ListArray.from_arrays(pa.array(offsets), names)


def _reasons(flags: NDArray[np.uint8], texts: pa.Array) -> pa.Array:
    """Why a text is put aside; null where it is kept."""
    empty = pc.equal(texts, "").to_numpy(zero_copy_only=False)
    names = pa.array([None, "invalid_utf8", "nul_character", "too_long", "empty"])
    tests = [flags & kernels.INVALID, flags & kernels.NUL, flags & kernels.LONG, empty]
    return names.take(pa.array(np.select([t != 0 for t in tests], [1, 2, 3, 4], 0)))


def _clean_slice(texts: pa.Array, options: Options) -> pa.RecordBatch:
    normal, flags = normalise(texts, options)
    now, found = mask(normal)
    reason = _reasons(flags, now)
    kept = pc.is_null(reason).to_numpy(zero_copy_only=False)
    spoken, sentences = languages(*buffers(now))
    columns = [
        only(now, kept),
        only(spoken, kept),
        _masked(found),
        pa.array(np.where(kept, sentences, 0).astype(np.int32)),
        reason,
    ]
    return pa.RecordBatch.from_arrays(columns, schema=CLEANED)


def _slices(texts: pa.Array, threads: int) -> Iterator[pa.Array]:
    """The texts in pieces of at most `SLICE` rows and about `SLICE_BYTES`, at least one row each, as many a thread."""
    rounds = -(-len(texts) // (SLICE * threads))
    rows = max(-(-len(texts) // max(rounds * threads, 1)), min(SLICE, _FEW))
    ends, _ = buffers(texts)
    at = 0
    while at < len(texts):
        full = int(np.searchsorted(ends, ends[at] + SLICE_BYTES, "right")) - 1
        stop = min(at + rows, max(full, at + 1))
        yield texts.slice(at, stop - at)
        at = stop


def clean_texts(texts: pa.Array, options: Options | None = None, *, threads: int = 1) -> pa.Table:
    """Clean an array of texts (string or binary); same rows, same order, columns of `CLEANED`.

    A text that is missing, empty after cleaning, longer than `MAX_CHARACTERS`, no UTF-8 or with a NUL in it has a
    reason instead of a clean text. With several threads slices are cleaned side by side.
    """
    chosen = options or Options()
    # a null has bytes of no meaning under it
    filled = texts.fill_null("" if pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type) else b"")
    slices = list(_slices(filled, threads))
    if len(slices) <= 1 or threads == 1:
        done = [_clean_slice(part, chosen) for part in slices]
    else:
        _clean_slice(filled.slice(0, 1), chosen)  # makes tables and code once, before the threads ask for them
        with ThreadPoolExecutor(threads) as pool:
            done = list(pool.map(lambda part: _clean_slice(part, chosen), slices))
    return pa.Table.from_batches(done, CLEANED)
