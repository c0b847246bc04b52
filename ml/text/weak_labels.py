"""Weak labels of purchase intent for a shop's own texts: rules and behaviour, weighed by a label model.

The file that comes out is a label file (`ml.text.labels`): `intent` where the label model is sure enough, no sentiment,
spans by rule. What it says of itself: the share of intent in each stratum of the rules, how often each witness is
right, and the share of labels expected wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flashsale.errors import InputError
from flashsale.lake import Lake
from ml.text.label_model import SILENT, Counts, Fitted, fit
from ml.text.weak import NO_RULE, VETOED, WANTED, intent_stratum

SURE = 0.9
#: Sentences read one by one, two languages together, as intent and as none: of 60 that a rule calls intent 46 were; of
#: 100 without a rule none was (half a one is counted, for none in a hundred is not never). Vetoed ones were not read.
STRATA: tuple[tuple[str, Counts], ...] = ((WANTED, (46.0, 14.0)), (VETOED, (1.0, 4.0)), (NO_RULE, (0.5, 100.0)))
#: Priors that say little: a writer who means to buy does so about every second time, one who does not seldom does.
WITNESSES: tuple[tuple[str, Counts, Counts], ...] = (
    ("bought", (3.0, 3.0), (8.0, 2.0)),
    ("wished", (3.0, 3.0), (8.0, 2.0)),
)
#: One row per distinct text with an answer; `p_intent` is the label model's chance.
LABELS = pa.schema(
    [
        ("text", pa.string()),
        ("language", pa.string()),
        ("sentiment", pa.string()),
        ("intent", pa.bool_()),
        ("p_intent", pa.float64()),
        ("why", pa.string()),
        ("source", pa.string()),
        ("licence", pa.string()),
    ]
)


def weigh(texts: Sequence[str], language: str, acts: Sequence[Sequence[int | None]]) -> Fitted:
    """The label model of texts of one language; `acts` has an answer (1, 0, None) a witness for each text."""
    places = {name: at for at, (name, _) in enumerate(STRATA)}
    stratum = np.array([places[intent_stratum(text, language)] for text in texts], dtype=np.int64)
    votes = np.array([[SILENT if act is None else act for act in row] for row in acts], dtype=np.int8)
    return fit(stratum, STRATA, votes.reshape(-1, len(WITNESSES)), WITNESSES)


def label_shop_texts(
    lake: Lake, out: Path, *, as_of: datetime | None = None, window_days: int = 14, sure: float = SURE
) -> dict[str, Any]:
    """Write the label file of the shop's texts and return its account by language.

    Raises InputError where there is nothing to label, or `sure` is no chance above one half.
    """
    from ml.text.behaviour import outcomes
    from ml.text.score import write_table

    if not 0.5 < sure < 1.0:
        raise InputError("weak labels", f"{sure} is no chance between 0.5 and 1", "give, say, 0.9", field="sure")
    found = outcomes(lake, as_of=as_of, window_days=window_days).to_pylist()
    rows: list[dict[str, Any]] = []
    account: dict[str, Any] = {}
    for language in ("zh", "en"):
        own = _distinct([row for row in found if row["language"] == language])
        if not own:
            continue
        fitted = weigh([row["text"] for row in own], language, [[row[name] for name, *_ in WITNESSES] for row in own])
        labelled = [
            _label(row, chance, chance >= sure)
            for row, chance in zip(own, fitted.chances.tolist(), strict=True)
            if chance >= sure or chance <= 1.0 - sure
        ]
        account[language] = _account(fitted, labelled)
        rows += labelled
    if not account:
        raise InputError("weak labels", "no text has a known writer and a known language", "clean the streams first")
    write_table(pa.Table.from_pylist(rows, schema=LABELS), out)
    return {"out": str(out), "labelled": len(rows), "languages": account}


def _distinct(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a text, in order: a sentence of several writers was followed by an act where any of them acted."""
    merged: dict[str, dict[str, Any]] = {}
    for row in rows:
        first = merged.setdefault(row["text"], dict(row))
        for name, *_ in WITNESSES:
            acts = [each[name] for each in (first, row) if each[name] is not None]
            first[name] = max(acts) if acts else None
    return list(merged.values())


def _label(row: dict[str, Any], chance: float, intent: bool) -> dict[str, Any]:
    acts = [f"{name} {'yes' if row[name] else 'no'}" for name, *_ in WITNESSES if row[name] is not None]
    return {
        "text": row["text"],
        "language": row["language"],
        "sentiment": None,
        "intent": intent,
        "p_intent": round(chance, 4),
        "why": ", ".join([intent_stratum(row["text"], row["language"]), *acts]),
        "source": f"the shop's {row['stream']}, labelled by rules and behaviour",
        "licence": "the shop's own",
    }


def _account(fitted: Fitted, labelled: list[dict[str, Any]]) -> dict[str, Any]:
    wrong = [min(row["p_intent"], 1.0 - row["p_intent"]) for row in labelled]
    return {
        "texts": len(fitted.chances),
        "labelled": len(labelled),
        "intent": sum(row["intent"] for row in labelled),
        "expected_wrong": round(float(np.mean(wrong)), 4) if wrong else None,
        "share_of_intent": [asdict(share) for share in fitted.strata],
        "sensitivity": [asdict(share) for share in fitted.sensitivity],
        "specificity": [asdict(share) for share in fitted.specificity],
    }
