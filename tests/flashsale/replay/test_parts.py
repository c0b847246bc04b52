"""Parts of a replay: what it refuses, what it says is lost, how it passes errors on, and texts scored only once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flashsale.contracts import load_contract
from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.replay import texts
from flashsale.replay.commands import Commands, refusal
from flashsale.replay.results import PLAN
from flashsale.replay.run import replay
from flashsale.replay.streams import check_streams, missing_streams, stand_in_regions
from flashsale.request import SaleRequest, load_request
from flashsale.settings import settings

START = datetime(2026, 3, 1, tzinfo=UTC)


def request() -> SaleRequest:
    return load_request(
        {
            "request_id": "r",
            "currency": "CNY",
            "start_slots": ["2026-06-01T00:00:00Z"],
            "duration_hours": 24,
            "regions": [{"region_id": "east", "capacity_units": 10}, {"region_id": "new", "capacity_units": 10}],
            "skus": [{"sku_id": "a", "supply_units": 5, "unit_cost": 1, "prices": [2]}],
        }
    )


def catalog(sku: str = "a", currency: str = "CNY") -> dict[str, Any]:
    return {
        "event_id": f"k-{sku}", "event_at": START, "sku_id": sku, "title": "t", "category": "c", "brand": "b",
        "list_price": 3, "unit_cost": 1, "currency": currency, "launched_at": START,
    }  # fmt: skip


def offer(campaign: str = "c1", sku: str = "a") -> dict[str, Any]:
    return {
        "event_id": f"o-{campaign}", "event_at": START, "campaign_id": campaign, "sku_id": sku, "region_id": "east",
        "promo_type": "discount", "offer_price": 2, "allocated_units": 5, "per_user_limit": 1,
        "starts_at": START + timedelta(days=1), "ends_at": START + timedelta(days=2),
    }  # fmt: skip


def order(campaign: str | None = "c1", days: float = 1.5) -> dict[str, Any]:
    return {
        "event_id": f"e-{campaign}-{days}", "event_at": START + timedelta(days=days), "order_id": f"{campaign}-{days}",
        "line_no": 1, "user_id": "u", "sku_id": "a", "region_id": "east", "quantity": 1, "unit_price": 2,
        "paid_amount": 2, "promo_type": None, "campaign_id": campaign, "status": "placed",
    }  # fmt: skip


def lake_of(folder: Path, **streams: list[dict[str, Any]]) -> Lake:
    lake = Lake(str(folder / "lake"))
    for name, rows in streams.items():
        table = pa.Table.from_pylist(rows, schema=load_contract(name).arrow_schema())
        lake.write(f"raw/{name}", "date=2026-03-01", table)
    return lake


def region(name: str) -> dict[str, Any]:
    return {
        "event_id": f"r-{name}", "event_at": START, "region_id": name, "warehouse_id": name, "name": name,
        "capacity_units": 9, "shipping_cost": 1,
    }  # fmt: skip


GOOD: dict[str, list[dict[str, Any]]] = {
    "catalog": [catalog()], "campaigns": [offer()], "orders": [order(), order(None, 9.0)],
    "regions": [region("east"), region("new")],
}  # fmt: skip


def test_sound_streams_pass(tmp_path: Path) -> None:
    check_streams(lake_of(tmp_path, **GOOD), request())


@pytest.mark.parametrize(
    ("stream", "rows", "field", "row"),
    [
        ("catalog", [catalog(), catalog("b", "EUR")], "currency", "b"),
        ("campaigns", [offer(), offer("c2", "unknown")], "unit_cost", "unknown"),
        ("campaigns", [offer(), offer("silent")], "campaign_id", "silent"),
        ("catalog", [catalog("b")], "skus", "a"),
        ("regions", [region("east")], "regions", "new"),
    ],
)
def test_what_no_plan_can_rest_on_is_named(
    tmp_path: Path, stream: str, rows: list[dict[str, Any]], field: str, row: str
) -> None:
    with pytest.raises(InputError) as error:
        check_streams(lake_of(tmp_path, **{**GOOD, stream: rows}), request())
    assert (error.value.field, error.value.row) == (field, row)


def test_a_campaign_that_still_runs_needs_no_orders_yet(tmp_path: Path) -> None:
    check_streams(lake_of(tmp_path, **{**GOOD, "campaigns": [offer(), offer("c2")], "orders": [order()]}), request())


def test_missing_streams_say_what_is_lost(tmp_path: Path) -> None:
    outcomes = {"orders": {"rows": 3}, "traffic": {"rows": 0}, "regions": {"rows": 0}}
    assert set(missing_streams(outcomes)) == {"traffic", "regions"}
    lake = lake_of(tmp_path, **{name: rows for name, rows in GOOD.items() if name != "regions"})
    stand_in_regions(lake, request())
    found = lake.read("raw/regions").to_pylist()
    assert [(r["region_id"], r["warehouse_id"], float(r["shipping_cost"])) for r in found] == [
        ("east", "east", 0.0), ("new", "new", 0.0),
    ]  # fmt: skip


def test_an_error_of_a_command_is_passed_on_in_its_own_words() -> None:
    said = str(InputError("stream inventory", "-3 fails", "correct on_hand", field="on_hand", row=7))
    assert str(refusal("load", 2, f"noise\n{said}\n")) == said
    assert "status 1" in str(refusal("load", 1, "Traceback\nValueError: boom"))


class Scoring(Commands):
    """Commands that clean nothing and score a text by its length; counts what was scored."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, 1, lambda words: None)
        self.scored: list[str] = []

    def run(self, stage: str, *words: str) -> dict[str, Any]:
        if stage == "score text":
            given = dict(zip(words[4::2], words[5::2], strict=True))
            table = pq.ParquetFile(given["--in"]).read()
            said = table["text"].to_pylist()
            self.scored += said
            for name in texts.SCORES:
                kind = texts.KEPT.field(name).type
                values = [len(t) / 100 for t in said] if kind == pa.float64() else ["[]"] * len(said)
                table = table.append_column(name, pa.array(values, kind))
            pq.write_table(table, given["--out"])
        return {}


def clean_lake(home: Path, words: list[str]) -> None:
    rows = [
        {
            "event_id": f"t{i}", "event_at": START + timedelta(hours=9 * i), "stream": "reviews", "sku_id": "a",
            "language": "en", "clean_text": text, "text_hash": text.lower(), "likes": 0, "reposts": 0,
        }
        for i, text in enumerate(words)
    ]  # fmt: skip
    names = ("event_id", "stream", "sku_id", "language", "clean_text", "text_hash")
    schema = pa.schema(
        [(n, pa.string()) for n in names]
        + [("event_at", pa.timestamp("us", tz="UTC")), ("likes", pa.int64()), ("reposts", pa.int64())]
    )
    Lake(str(home / "lake")).write("text/clean", "date=2026-03-01", pa.Table.from_pylist(rows, schema=schema))


@pytest.fixture()
def cache(tmp_path: Path) -> Iterator[None]:
    """A cache of the test's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLASHSALE_CACHE", str(tmp_path / "cache"))
        settings.cache_clear()
        yield
    settings.cache_clear()


@pytest.mark.usefixtures("cache")
def test_each_text_is_scored_once_and_never_again(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "manifest.json").write_text("{}")
    first, second = (Scoring(tmp_path / name) for name in ("one", "two"))
    for commands, words in ((first, ["good", "Good", "bad"]), (second, ["bad", "good", "new"])):
        commands.home.mkdir()
        clean_lake(commands.home, words)
    answer = texts.clean_and_score(first, model)
    assert (answer["texts"], answer["different"], answer["scored"]) == (3, 2, 2)
    assert texts.clean_and_score(second, model)["scored"] == 1
    assert second.scored == ["new"]
    lake = Lake(second.lake_uri)
    rows = lake.read(f"text/scored/model_version={answer['model_version']}").to_pylist()
    assert [(r["event_id"], r["p_intent"]) for r in rows] == [("t0", 0.03), ("t1", 0.04), ("t2", 0.03)]
    assert lake.read("text/served")["model_version"].to_pylist() == [answer["model_version"]]


def test_a_request_that_is_wrong_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    bad = tmp_path / "request.yaml"
    bad.write_text("request_id: r\ncurrency: CNY\n")
    with pytest.raises(InputError, match="skus"):
        replay(tmp_path / "events", bad, tmp_path / "out", seed=1)
    assert not (tmp_path / "out").exists()


def test_places_are_checked_before_the_work(tmp_path: Path, small_shop: Path) -> None:
    request = small_shop / "sale_request.yaml"
    (tmp_path / "file").write_text("x")
    (tmp_path / "out" / PLAN).mkdir(parents=True)
    for out, words in [("file", "is no folder"), ("file/deeper", "is no folder"), ("out", "another kind")]:
        with pytest.raises(InputError, match=words):
            replay(small_shop, request, tmp_path / out, seed=1)
    with pytest.raises(InputError, match="give --work a new folder"):
        replay(small_shop, request, tmp_path / "new", seed=1, work=tmp_path / "file")
    assert not (tmp_path / "new").exists() and (tmp_path / "file").read_text() == "x"
