"""Labels that people give: a file of them read with care, and the texts that are most worth a label.

A label file is Parquet or JSON Lines with `text`, `language` (`zh`, `en`) and `sentiment`; `intent` (true or false) and
`spans` (JSON or a list of `{"start", "end"}`, character offsets, end exclusive) may be null or missing, and rules stand
in for them then; a row that has `intent` may leave `sentiment` null, and the sentiment's head learns nothing from it;
`source` and `licence` say where a text is from. A sentence keeps the split that its hash gives it, so a copy of a test
sentence never trains.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from operator import index
from pathlib import Path
from typing import Any

import pyarrow as pa

from flashsale.corpora.normal import same, split_of
from flashsale.errors import InputError
from ml.text.data import IGNORED, LANGUAGES, SENTIMENTS, Example, with_sentiment
from ml.text.weak import demand_spans, purchase_intent

GUESSES = {"sentiment": "suggested_sentiment", "spans": "suggested_spans"}
NEEDED = ("text", "language", "sentiment", "source", "licence")


def read_labels(path: Path, split: str) -> list[Example]:
    """Return the labelled examples of a file that belong to `split`, in the file's order.

    Raises InputError that names the field, the row (0-based) and the remedy.
    """
    from ml.text.score import read_texts

    rows = read_texts(path).to_pylist()
    subject = f"label file {path.name}"
    for field in NEEDED if rows else ():
        if field not in rows[0]:
            raise InputError(subject, "the column is missing", f"give the columns {', '.join(NEEDED)}", field=field)
    examples = [_example(row, at, subject) for at, row in enumerate(rows)]
    _check_classes(examples, subject)
    return [example for example in examples if split_of(example.text) == split]


def _example(row: dict[str, Any], at: int, subject: str) -> Example:
    def refuse(field: str, problem: str, remedy: str) -> InputError:
        return InputError(subject, problem, remedy, field=field, row=at)

    text = row["text"]
    if not isinstance(text, str) or not text.strip():
        raise refuse("text", "it is empty", "leave the row out")
    if row["language"] not in LANGUAGES:
        raise refuse("language", f"{row['language']!r} is unknown", f"give one of {', '.join(LANGUAGES)}")
    intent = row.get("intent")
    if row["sentiment"] not in (SENTIMENTS if intent is None else (*SENTIMENTS, None)):
        remedy = f"give one of {', '.join(SENTIMENTS)}, or null beside an intent"
        raise refuse("sentiment", f"{row['sentiment']!r} is unknown", remedy)
    for field in ("source", "licence"):
        if not row[field]:
            raise refuse(field, "it is empty", "say where the text is from and under which terms")
    if intent not in (None, True, False, 0, 1):
        raise refuse("intent", f"{intent!r} is neither true nor false", "give true, false or null")
    meant = purchase_intent(text, row["language"]) if intent is None else int(intent)
    sentiment = IGNORED if row["sentiment"] is None else SENTIMENTS.index(row["sentiment"])
    return Example(text, row["language"], sentiment, meant, _spans(row, refuse))


def _spans(row: dict[str, Any], refuse: Any) -> tuple[tuple[int, int], ...]:
    given, text = row.get("spans"), row["text"]
    if given is None:
        return tuple(demand_spans(text, row["language"]))
    try:
        listed = json.loads(given) if isinstance(given, str) else given
        spans = sorted((index(span["start"]), index(span["end"])) for span in listed)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise refuse("spans", f"they cannot be read: {error}", 'write [{"start": 0, "end": 2}]') from error
    last = 0
    for start, end in spans:
        if not 0 <= start < end <= len(text):
            words = f"({start}, {end}) lies outside the {len(text)} characters"
            raise refuse("spans", words, "count from 0, end exclusive")
        if start < last:
            raise refuse("spans", f"({start}, {end}) overlaps the span before it", "join or part them")
        last = end
    return tuple(spans)


def _check_classes(examples: Sequence[Example], subject: str) -> None:
    known: dict[str, tuple[int, int]] = {}
    for at, example in enumerate(examples):
        if example.sentiment == IGNORED:
            continue
        key = same(example.text)
        first, label = known.setdefault(key, (at, example.sentiment))
        if label != example.sentiment:
            words = f"row {first} is the same sentence with another sentiment"
            raise InputError(subject, words, "decide for one of the two", field="sentiment", row=at)
    given = with_sentiment(examples)
    if len(given) > 1 and len({example.sentiment for example in given}) == 1:
        only = SENTIMENTS[given[0].sentiment]
        raise InputError(subject, f"every row is {only}", "add rows of another sentiment", field="sentiment")


def suggest(scored: pa.Table, count: int) -> pa.Table:
    """The `count` scored texts most worth a label, the least certain first, no two of them the same sentence.

    Uncertainty is the entropy of the three sentiment probabilities over its largest value, plus that of the intent
    (Settles 2009, uncertainty sampling); languages are taken in turn. `scored` has the columns of `text score`; what
    the model said is renamed (`GUESSES`), so that it is not read as somebody's label.
    """
    ranked: dict[str, list[tuple[float, int]]] = {}
    seen: set[str] = set()
    rows = scored.to_pylist()
    for at, row in enumerate(rows):
        if row["sentiment"] is None or (key := same(row["text"])) in seen:
            continue
        seen.add(key)
        shares = [row[f"p_{name}"] for name in SENTIMENTS]
        doubt = _entropy(shares) / math.log(len(shares)) + _entropy([row["p_intent"], 1 - row["p_intent"]]) / math.log(
            2
        )
        language = "zh" if any("\u4e00" <= c <= "\u9fff" for c in row["text"]) else "en"
        ranked.setdefault(language, []).append((-doubt, at))
    queues = [sorted(queue) for _, queue in sorted(ranked.items())]
    taken: list[tuple[int, float]] = []
    for depth in range(max(map(len, queues), default=0)):
        taken += [(queue[depth][1], -queue[depth][0]) for queue in queues if depth < len(queue)]
    chosen = taken[:count]
    scored = scored.select([name for name in scored.column_names if name not in ("doubt", *GUESSES.values())])
    found = scored.take(pa.array([at for at, _ in chosen], pa.int64()))
    found = found.rename_columns([GUESSES.get(name, name) for name in found.column_names])
    return found.append_column("doubt", pa.array([round(doubt, 4) for _, doubt in chosen], pa.float64()))


def _entropy(shares: Sequence[float]) -> float:
    return -sum(share * math.log(share) for share in shares if share > 0)
