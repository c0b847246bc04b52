"""Past conversations as pairs of a question and the answer an agent gave, without what identifies anybody."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flashsale.errors import InputError
from flashsale.identifiers import mask_identifiers
from flashsale.lake import Lake
from flashsale.pseudonyms import pseudonym
from flashsale.settings import pseudonym_key
from ml.text.score import read_texts

DATASET = "raw/support_messages"
COLUMNS = ("conversation_id", "role", "text", "event_at")
_PSEUDONYM = re.compile(r"c_[0-9a-f]{32}")
_MASK = re.compile(r"<[a-z_]+>")
_LONG_NUMBER = re.compile(r"\d{5,}|[A-Za-z]{1,4}\d{4,}")
#: How people are addressed or name themselves; an answer with one of these was for one customer, by one agent.
_NAMED = re.compile(
    r"\b(?:Mr|Mrs|Ms|Miss|Dr)\.?\s+[A-Z]|\b(?:Dear|Hi|Hello|Hey)\s+(?!There\b|Customer\b|All\b)[A-Z][a-z]+"
    r"|\b(?:[Mm]y name is|I am|I'm|[Tt]his is)\s+[A-Z][a-z]+|\b[Rr]egards,?\s+[A-Z][a-z]+"
    r"|[一-鿿](?:先生|女士|小姐|太太)|(?:我是|我叫|工号|客服)[A-Za-z0-9]{2,}"
)


@dataclass(frozen=True)
class Pair:
    """What a customer asked and an agent answered, both masked; `conversation` is a pseudonym."""

    question: str
    answer: str
    conversation: str
    answered_at: datetime


def from_lake(lake: Lake) -> pa.Table:
    """All committed support messages of a lake. Raises InputError where there are none."""
    return lake.read(DATASET, columns=[*COLUMNS])


def from_file(path: Path) -> pa.Table:
    """Messages of a Parquet or JSON Lines file. Raises InputError where a column is missing or of another kind."""
    table = read_texts(path)
    subject = f"file {path.name}"
    for name in COLUMNS:
        if name not in table.column_names:
            raise InputError(subject, "the column is missing", f"it needs {', '.join(COLUMNS)}", field=name)
    kind = table.schema.field("event_at").type
    try:
        if not (pa.types.is_timestamp(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise pa.ArrowInvalid(f"{kind} may count from any moment in any unit")
        moments = pc.cast(table["event_at"], pa.timestamp("us", tz="UTC"))
    except pa.ArrowException as error:
        remedy = "write it as 2026-11-01T08:00:00Z"
        raise InputError(subject, "it is no moment in UTC", remedy, field="event_at") from error
    table = table.select([*COLUMNS]).set_column(3, "event_at", moments)
    for name in COLUMNS:
        if table[name].null_count:
            row = pc.index(pc.is_null(table[name]), True).as_py()
            raise InputError(subject, "it is empty", "fill it or leave the message out", field=name, row=row)
    strange = [row for row, role in enumerate(table["role"].to_pylist()) if role not in ("customer", "agent")]
    if strange:
        raise InputError(subject, "it is neither customer nor agent", "write one of them", field="role", row=strange[0])
    ids = [_hidden(str(name)) for name in table["conversation_id"].to_pylist()]
    return table.set_column(0, "conversation_id", pa.array(ids, pa.string()))


def pairs(messages: pa.Table) -> list[Pair]:
    """Questions with the answers that followed them in their conversation, oldest answer first.

    Neighbouring messages of one side are one. Answers that name a person, an order or any other identifier are left
    out: they were for one customer. Questions keep their words, with identifiers masked.
    """
    rows = sorted(messages.select([*COLUMNS]).to_pylist(), key=_moment)
    found: list[Pair] = []
    for conversation, group in groupby(rows, key=lambda row: str(row["conversation_id"])):
        found += _pairs_of(conversation, list(group))
    return sorted(found, key=lambda pair: (pair.answered_at, pair.conversation, pair.question))


def of_one_customer(answer: str) -> bool:
    """Whether a masked answer names a person, an order or another identifier."""
    return bool(_MASK.search(answer) or _LONG_NUMBER.search(answer) or _NAMED.search(answer))


def masked_question(text: str) -> str:
    """A question as it is compared: NFKC, identifiers masked, blanks made one."""
    return " ".join(mask_identifiers(text).split())


def key_of(answer: str) -> str:
    """An answer without case, punctuation and blanks: equal keys are one answer."""
    plain = unicodedata.normalize("NFKC", answer).casefold()
    return "".join(char for char in plain if char.isalnum())


def _pairs_of(conversation: str, rows: Sequence[dict[str, Any]]) -> Iterator[Pair]:
    asked: str | None = None
    for role, group in groupby(rows, key=lambda row: row["role"]):
        said = list(group)
        words = [str(row["text"] or "").strip() for row in said]
        text = masked_question(" ".join(words))
        if role == "customer":
            asked = text
        elif asked and text and not of_one_customer(text):  # nothing to mask: it is given as it was written
            yield Pair(asked, "\n".join(filter(None, words)), conversation, said[-1]["event_at"])


def _moment(row: dict[str, Any]) -> tuple[str, datetime, bool, str]:
    """By conversation and time; at the same moment the customer comes first."""
    return str(row["conversation_id"]), row["event_at"], row["role"] == "agent", str(row["text"])


def _hidden(conversation: str) -> str:
    """The pseudonym of a conversation; one that is a pseudonym already, as in the lake, is kept."""
    if _PSEUDONYM.fullmatch(conversation):
        return conversation
    return pseudonym(conversation, "conversation_id", pseudonym_key())
