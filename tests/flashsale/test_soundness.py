"""What the published marts hold that no plan can rest on is refused by field and row."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from flashsale.errors import InputError
from flashsale.request import load_request
from flashsale.settings import settings
from flashsale.soundness import check_history, refuse_all_sold_out

REQUEST = load_request(
    {
        "request_id": "r",
        "currency": "CNY",
        "start_slots": ["2026-06-01T00:00:00Z"],
        "duration_hours": 24,
        "regions": [{"region_id": "east", "capacity_units": 10}],
        "skus": [{"sku_id": "a", "supply_units": 5, "unit_cost": 1, "prices": [2]}],
    }
)
MARTS = (
    "CREATE TABLE marts.dim_products AS SELECT 'a' AS sku_id, 'CNY' AS currency",
    "CREATE TABLE marts.dim_campaigns AS SELECT 'c1' AS campaign_id, CAST(NULL AS text) AS unknown_sku",
    "CREATE TABLE marts.fct_orders AS SELECT TIMESTAMPTZ '2026-03-09 00:00:00Z' AS ordered_at",
    "CREATE TABLE marts.fct_sale_performance AS SELECT 'c1' AS campaign_id, TIMESTAMPTZ '2026-03-02 00:00:00Z' AS starts_at,"
    " TIMESTAMPTZ '2026-03-03 00:00:00Z' AS ends_at, 5 AS allocated_units, 3 AS units_sold",
)


def published(change: str | None = None) -> None:
    """A snapshot with one sound sale, and what `change` says of it."""
    path = settings().snapshot
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(path)) as connection:
        for statement in ("CREATE SCHEMA marts", *MARTS, *([change] if change else [])):
            connection.execute(statement)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHSALE_HOME", str(tmp_path))
    monkeypatch.delenv("FLASHSALE_WAREHOUSE_URI", raising=False)
    settings.cache_clear()


def test_sound_marts_pass() -> None:
    published()
    check_history(REQUEST)


@pytest.mark.parametrize(
    ("change", "field", "row"),
    [
        ("INSERT INTO marts.dim_products VALUES ('b', 'EUR')", "currency", "b"),
        ("UPDATE marts.dim_campaigns SET unknown_sku = 'ghost'", "unit_cost", "ghost"),
        ("UPDATE marts.fct_sale_performance SET units_sold = 0", "campaign_id", "c1"),
    ],
)
def test_what_no_plan_can_rest_on_is_named(change: str, field: str, row: str) -> None:
    published(change)
    with pytest.raises(InputError) as error:
        check_history(REQUEST)
    assert (error.value.field, error.value.row) == (field, row)


def test_a_sale_that_sent_nothing_or_still_runs_needs_no_orders() -> None:
    published("UPDATE marts.fct_sale_performance SET units_sold = 0, allocated_units = 0")
    check_history(REQUEST)
    with duckdb.connect(str(settings().snapshot)) as connection:
        connection.execute(
            "UPDATE marts.fct_sale_performance SET allocated_units = 5, ends_at = TIMESTAMPTZ '2026-03-10 00:00:00Z'"
        )
    check_history(REQUEST)


def test_all_sold_out_is_refused_and_some_is_not() -> None:
    refuse_all_sold_out(10, 9)
    refuse_all_sold_out(0, 0)
    with pytest.raises(InputError, match="all 10 past offers sold out"):
        refuse_all_sold_out(10, 10)
