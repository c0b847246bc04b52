"""An assistant built on the tiny BERT: random weights, so it tells letters apart, and no more is asked of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.ml.serve.conftest import folders, scorer  # noqa: F401  (fixtures)
from tests.ml.text.conftest import tiny_base  # noqa: F401  (a fixture)

START = datetime(2026, 11, 1, tzinfo=UTC)


def messages(*turns: tuple[str, str, str]) -> pa.Table:
    """Messages (conversation, role, text), a minute apart, with the columns of a history."""
    rows = [
        {"conversation_id": name, "role": role, "text": text, "event_at": START + timedelta(minutes=at)}
        for at, (name, role, text) in enumerate(turns)
    ]
    kinds = [("conversation_id", pa.string()), ("role", pa.string()), ("text", pa.string())]
    return pa.Table.from_pylist(rows, schema=pa.schema([*kinds, ("event_at", pa.timestamp("us", tz="UTC"))]))


#: Two customers get the same answer; a third one's names an order; a question has a phone number in it.
PLANTED = "does the blue umbrella fit in a handbag 13812345678"
HISTORY = (
    ("c1", "customer", PLANTED),
    ("c1", "agent", "The umbrella folds to 24 cm."),
    ("c2", "customer", "how small is the umbrella when folded"),
    ("c2", "agent", "the umbrella folds to 24 cm"),
    ("c3", "customer", "where is it"),
    ("c3", "agent", "Your order no. 202601010001 is on its way."),
    ("c4", "customer", "where is it now"),
    ("c4", "agent", "Your order no. 202601010001 is on its way."),
    ("c5", "customer", "may i have blue wrapping"),
    ("c5", "agent", "Blue wrapping is possible."),
)


@pytest.fixture(scope="session")
def built(folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:  # noqa: F811
    """An assistant of the shop's knowledge on the first tiny model, and what building it said."""
    from ml.assistant.assistant import Plan, build
    from ml.assistant.intents import SHOP

    out = tmp_path_factory.mktemp("assistants") / "one"
    plan = Plan(layers=2, most_wrong=0.2, least_similarity=0.99)
    return out, build(SHOP, folders[0], "tiny-v1", out, history=messages(*HISTORY), plan=plan)
