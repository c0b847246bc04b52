"""The label model finds planted shares and error rates; behaviour counts what came after a text, and only that."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.settings import settings
from ml.__main__ import main
from ml.text.behaviour import outcomes
from ml.text.label_model import SILENT, fit
from ml.text.labels import read_labels
from ml.text.weak_labels import label_shop_texts

DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIFTHS = np.arange(0.0, 1.0, 0.2)
WIDE = ((4.0, 2.0), (4.0, 2.0))


def planted(seed: int = 3, rows: int = 40_000) -> tuple[Any, Any, Any]:
    """Strata with 70 %, 30 % and 2 % of yes; witnesses right of a yes in 60 % and 40 %, of a no in 95 % and 85 %."""
    rng = np.random.default_rng(seed)
    stratum = rng.choice(3, rows, p=[0.1, 0.1, 0.8])
    truth = rng.random(rows) < np.array([0.7, 0.3, 0.02])[stratum]
    votes = np.stack([rng.random(rows) < np.where(truth, a, b) for a, b in ((0.6, 0.05), (0.4, 0.15))], 1).astype(
        np.int8
    )
    votes[rng.random((rows, 2)) < 0.3] = SILENT
    return stratum, votes, truth


def test_planted_shares_and_error_rates_are_found_within_the_errors_stated() -> None:
    stratum, votes, truth = planted()
    strata = [("a", (7.0, 3.0)), ("b", (1.0, 1.0)), ("c", (1.0, 60.0))]
    found = fit(stratum, strata, votes, [("x", *WIDE), ("y", *WIDE)])
    wanted = [0.7, 0.3, 0.02, 0.6, 0.4, 0.95, 0.85]
    for share, value in zip([*found.strata, *found.sensitivity, *found.specificity], wanted, strict=True):
        assert 0.0 < share.error < 0.1
        assert abs(share.value - value) < 3.0 * share.error, share
    off = [abs((found.chances - truth)[(found.chances >= low) & (found.chances < low + 0.2)].sum()) for low in FIFTHS]
    assert sum(off) / len(truth) < 0.02  # a chance is what it says


def test_without_a_witness_the_reading_alone_speaks() -> None:
    silent = np.full((50, 1), SILENT, np.int8)
    found = fit(np.zeros(50, np.int64), [("a", (23.0, 7.0))], silent, [("x", *WIDE)])
    assert found.chances == pytest.approx(np.full(50, 23 / 30))
    assert found.strata[0].error == pytest.approx((23 / 30 * 7 / 30 / 31) ** 0.5, rel=0.2)  # that of Beta(23, 7)
    with pytest.raises(InputError, match="there is no text"):
        fit(np.zeros(0, np.int64), [("a", (1.0, 1.0))], silent[:0], [])


@pytest.fixture()
def lake(tmp_path: Path) -> Lake:
    """Five writers of the sku `s`: one wishes and buys after, one bought before, one only looks around, one wishes late, one leaves."""
    made = Lake(str(tmp_path / "lake"))
    users = ["after", "before", "around", "late", "gone"]
    texts = ["想买这个手机", "质量很好,下次还会来买", "屏幕很亮", "鞋带很结实", "a bright screen"]
    at = [DAY + timedelta(hours=i) for i in range(5)]
    write = lambda name, rows: made.write(name, "date=2026-03-01", pa.Table.from_pylist(rows))  # noqa: E731
    ids = [f"r{i}" for i in range(5)]
    write("raw/reviews", [{"event_id": i, "user_id": u, "sku_id": "s"} for i, u in zip(ids, users, strict=True)])
    clean = zip(ids, at, texts, ["zh"] * 4 + ["en"], strict=True)
    write("text/clean", [
        {"event_id": i, "event_at": t, "stream": "reviews", "clean_text": x, "language": g, "duplicate_of": None}
        for i, t, x, g in clean
    ])  # fmt: skip

    def order(user: str, hours: int, status: str = "placed", number: str = "") -> dict[str, Any]:
        return {"event_at": DAY + timedelta(hours=hours), "order_id": f"o-{user}{number}", "line_no": 1, "user_id": user,
                "sku_id": "s", "status": status, "paid_amount": Decimal(1)}  # fmt: skip

    write("raw/orders", [order("after", 48), order("before", -48), order("around", 30, number="x"),
                         order("around", 31, "cancelled", "x"), order("other", 24 * 40)])  # fmt: skip
    action = lambda user, hours, act, sku="s": {  # noqa: E731
        "event_at": DAY + timedelta(hours=hours),
        "user_id": user,
        "sku_id": sku,
        "action": act,
    }
    write("raw/traffic", [action("after", 30, "notify_me"), action("before", 20, "view"), action("around", 40, "cart", "t"), action("late", 24 * 20, "notify_me"),
                          action("late", 24, "favourite")])  # fmt: skip
    return made


def test_only_what_came_after_a_text_and_within_its_window_counts(lake: Lake) -> None:
    found = {row["event_id"]: (row["bought"], row["wished"]) for row in outcomes(lake).to_pylist()}
    assert found == {"r0": (1, 1), "r1": (0, 0), "r2": (0, 0), "r3": (0, 1), "r4": (None, None)}
    early = {
        r["event_id"]: (r["bought"], r["wished"]) for r in outcomes(lake, as_of=DAY + timedelta(days=3)).to_pylist()
    }
    assert early == {"r0": (1, 1), "r1": (None, None), "r2": (None, None), "r3": (None, 1), "r4": (None, None)}
    longer = {row["event_id"]: row["wished"] for row in outcomes(lake, as_of=DAY + timedelta(hours=26)).to_pylist()}
    assert longer["r3"] == 1 and "r4" in longer


def test_the_label_file_is_one_that_training_reads(lake: Lake, tmp_path: Path) -> None:
    account = label_shop_texts(lake, tmp_path / "labels.jsonl")
    chinese = account["languages"]["zh"]
    assert chinese["texts"] == 4 and 0.0 < chinese["expected_wrong"] < 0.1
    assert {s["name"] for s in chinese["sensitivity"]} == {"bought", "wished"}
    splits = {split: read_labels(tmp_path / "labels.jsonl", split) for split in ("train", "valid", "test")}
    intents = {e.text: e.intent for part in splits.values() for e in part}
    assert intents["想买这个手机"] == 1 and intents["屏幕很亮"] == 0
    assert all(e.sentiment == -100 for part in splits.values() for e in part)
    with pytest.raises(InputError, match="'sure'"):
        label_shop_texts(lake, tmp_path / "x.jsonl", sure=0.4)
    assert not (tmp_path / "x.jsonl").exists()


def test_the_command_labels_the_lake_it_is_pointed_at(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLASHSALE_HOME", str(tmp_path))
    settings.cache_clear()
    try:
        assert main(["text", "weak-labels", "--out", str(tmp_path / "l.jsonl"), "--as-of", "2026-03-20T00:00:00Z"]) == 0
    finally:
        settings.cache_clear()
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["languages"]["zh"]["texts"] == 4
    assert {json.loads(line)["sentiment"] for line in (tmp_path / "l.jsonl").read_text().splitlines()} == {None}
