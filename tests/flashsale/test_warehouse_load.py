"""Lake → warehouse → snapshot on DuckDB, and the same build on a real PostgreSQL with the same results."""

from __future__ import annotations

import math
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from flashsale import dbt, warehouse
from flashsale.contracts import STREAMS
from flashsale.decision_tables import DECISIONS
from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.live_tables import ALERTS, ALERTS_SET, COUNTS, MINUTES, MINUTES_SET, STANDING, STANDING_SET, partition_of
from flashsale.settings import settings
from flashsale.tables import TRENDS
from flashsale.times import Window
from flashsale.warehouse_build import build
from flashsale.warehouse_load import load, publish, publish_duckdb
from flashsale_plugins.ingest import Gatekeeper, ingest_requests, ingest_stream
from flashsale_plugins.sources import open_source

ALWAYS = Window(datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
MARTS = (
    "dim_campaigns",
    "dim_products",
    "dim_regions",
    "fct_daily_sales",
    "fct_orders",
    "fct_sale_hours",
    "fct_sale_performance",
    "fct_live_alerts",
    "fct_live_minutes",
    "fct_live_standing",
    "fct_text_signals",
    "fct_trends",
    "feat_demand",
    "feat_user_behaviour",
)


@pytest.fixture(scope="module")
def shop_lake(small_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small simulated shop, gated and committed."""
    folder = tmp_path_factory.mktemp("warehouse") / "lake"
    lake, source = Lake(str(folder)), open_source(str(small_shop))
    keeper = Gatekeeper(lake, b"key", datetime(2030, 1, 1, tzinfo=UTC))
    for stream in STREAMS:
        ingest_stream(source, stream, ALWAYS, keeper)
    ingest_requests(source, lake)
    for day in (1, 5, 14):
        lake.write("text/trends", f"date=2026-01-{day:02}", trends(date(2026, 1, day)))
    for name, table in watched_sale().items():
        lake.write(name, partition_of("live-1"), table)
    return folder


def watched_sale() -> dict[str, pa.Table]:
    """Two minutes of one offer, another that is sold out, and an alert about it."""
    noon = datetime(2026, 2, 1, 12, tzinfo=UTC)
    nothing = dict.fromkeys([*COUNTS, *(f.name for f in MINUTES if f.name.startswith("rows_"))], 0)
    minutes = [
        {**nothing, "campaign_id": "live-1", "minute": noon + timedelta(minutes=k), "sku_id": sku, "region_id": "east",
         "units": units, "orders": units, "views": 10, "revenue": 5.0 * units, "conversion": units / 10}
        for k, sku, units in ((0, "sku-001", 3), (1, "sku-001", 4), (1, "sku-002", 2))
    ]  # fmt: skip
    standing = [
        {"campaign_id": "live-1", "as_of": noon + timedelta(minutes=2), "sku_id": sku, "region_id": "east",
         "units": units, "left": left, "demand_low": 1.0, "demand_high": 9.0}
        for sku, units, left in (("sku-001", 7, 13.0), ("sku-002", 2, 0.0))
    ]  # fmt: skip
    alert = {"alert_id": "a1", "campaign_id": "live-1", "raised_at": noon, "kind": "stock_out", "severity": "high",
             "sku_id": "sku-002", "region_id": "east", "reason": "nothing is left", "batch": 1}  # fmt: skip
    return {
        MINUTES_SET: pa.Table.from_pylist(minutes, schema=MINUTES),
        STANDING_SET: pa.Table.from_pylist(standing, schema=STANDING),
        ALERTS_SET: pa.Table.from_pylist([alert], schema=ALERTS),
    }


def trends(day: date) -> pa.Table:
    """Two terms that trend in one category, one in another."""
    names = [("phones", "swollen", 8, 2.0), ("phones", "刷新率", 9, 1.0), ("tents", "swollen", 6, 1.5)]
    rows = [
        (day, c, t, n, 50, e, n / e, math.log2((n + 1) / (e + 1)), 1e-6, 1e-4, f"hash of {t}", t, n)
        for c, t, n, e in names
    ]
    return pa.table([pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), TRENDS, strict=True)], schema=TRENDS)


@pytest.fixture(scope="module")
def built_once(shop_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The warehouse folder of a home that was loaded, built and published."""
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLASHSALE_HOME", str(folder))
        patch.setenv("FLASHSALE_LAKE", str(shop_lake))
        settings.cache_clear()
        load(Lake(settings().lake_uri), DECISIONS)
        assert build()["full"]
        publish()
    settings.cache_clear()
    return folder / "warehouse"


@pytest.fixture()
def built(home: Path, built_once: Path, shop_lake: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own with that warehouse."""
    shutil.copytree(built_once, home / "warehouse")
    monkeypatch.setenv("FLASHSALE_LAKE", str(shop_lake))
    settings.cache_clear()
    return home


def test_an_empty_lake_is_refused(home: Path) -> None:
    with pytest.raises(InputError, match="stream catalog: nothing is committed"):
        load(Lake(settings().lake_uri), DECISIONS)


def test_no_snapshot_is_said(home: Path) -> None:
    with pytest.raises(InputError, match="no snapshot is published"):
        warehouse.read("SELECT 1")


def test_build_agrees_with_the_raw_files(built: Path, small_shop: Path) -> None:
    """An independent count straight from the source's files."""
    raw = f"read_parquet('{small_shop}/orders.parquet')"
    with duckdb.connect() as oracle:
        expected = oracle.execute(
            f"""WITH last AS (SELECT order_id, line_no, arg_max(status, event_at) AS status FROM {raw} GROUP BY ALL),
                first AS (SELECT order_id, line_no, arg_min(quantity, event_at) AS quantity,
                                 arg_min(campaign_id, event_at) AS campaign_id FROM {raw} GROUP BY ALL)
                SELECT campaign_id, sum(quantity)::BIGINT AS units FROM first JOIN last USING (order_id, line_no)
                WHERE status <> 'cancelled' AND campaign_id IS NOT NULL GROUP BY 1 ORDER BY 1"""
        ).fetchall()
    found = warehouse.read(
        "SELECT campaign_id, sum(units_sold)::BIGINT AS units FROM marts.fct_sale_performance GROUP BY 1 ORDER BY 1"
    )
    assert [tuple(r.values()) for r in found.to_pylist() if r["units"]] == expected


def test_trends_know_their_place_and_when_they_were_last(built: Path) -> None:
    found = warehouse.read(
        "SELECT trend_date, term, trend_rank, previous_trend_date, is_emerging FROM marts.fct_trends "
        "WHERE category = 'phones' ORDER BY trend_date, trend_rank"
    ).to_pylist()
    days = [date(2026, 1, d) for d in (1, 5, 14)]
    assert [tuple(row.values()) for row in found] == [
        (day, term, rank, before, emerging)
        for day, before, emerging in zip(days, [None, *days[:2]], [True, False, True], strict=True)
        for rank, term in ((1, "刷新率"), (2, "swollen"))
    ]


def test_a_watched_sale_is_seen_by_the_minute(built: Path) -> None:
    found = warehouse.read(
        "SELECT sku_id, sum(m.units)::BIGINT AS by_minute, any_value(s.units) AS standing, any_value(units_left) AS "
        "units_left, any_value(is_sold_out) AS sold_out, count(a.alert_id) AS alerts FROM marts.fct_live_minutes m "
        "JOIN marts.fct_live_standing s USING (campaign_id, sku_id, region_id) "
        "LEFT JOIN marts.fct_live_alerts a USING (campaign_id, sku_id, region_id) GROUP BY 1 ORDER BY 1"
    ).to_pylist()
    assert [tuple(row.values()) for row in found] == [
        ("sku-001", 7, 7, 13.0, False, 0),
        ("sku-002", 2, 2, 0.0, True, 1),
    ]


def test_loading_again_changes_nothing_and_names_changed_days(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load(Lake(settings().lake_uri), DECISIONS)["changed_days"] == 0
    copy = tmp_path / "lake"
    shutil.copytree(settings().lake_uri, copy)
    lake = Lake(str(copy))
    day = sorted(lake.partitions("raw/orders"))[3]
    lake.write("raw/orders", day, lake.read("raw/orders", [day]).slice(1))
    monkeypatch.setenv("FLASHSALE_LAKE", str(copy))
    settings.cache_clear()
    outcome = load(lake, DECISIONS)
    assert (outcome["changed_days"], outcome["first_changed"]) == (1, day.removeprefix("date="))


def edited_lake(folder: Path) -> Lake:
    """A copy of the lake in which records of two days came late, one day was corrected and one order fell away."""
    shutil.copytree(settings().lake_uri, folder)
    lake = Lake(str(folder))
    days = sorted(lake.partitions("raw/orders"))
    for day in days[3:5]:
        lake.write("raw/orders", day, lake.read("raw/orders", [day]).slice(1))
    for stream, day in (("traffic", days[10]), ("inventory", days[11])):
        lake.write(f"raw/{stream}", day, lake.read(f"raw/{stream}", [day]).slice(2))
    return lake


def everything() -> dict[str, list[tuple[object, ...]]]:
    """Rows of every built table, in an order of their own."""
    with duckdb.connect(str(settings().warehouse_path), read_only=True) as connection:
        names = connection.execute(
            "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE schema_name <> 'raw' ORDER BY 1"
        ).fetchall()
        return {name: rows(connection.execute(f"SELECT * FROM {name}").to_arrow_table()) for (name,) in names}


def test_a_build_of_changed_days_equals_a_full_build(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = edited_lake(tmp_path / "lake")
    before = everything()
    monkeypatch.setenv("FLASHSALE_LAKE", str(tmp_path / "lake"))
    settings.cache_clear()
    load(lake, DECISIONS)
    load(lake, DECISIONS)  # a second load before the build must not lose the days of the first
    outcome = build()
    assert (outcome["full"], outcome["days"]) == (False, 4)
    changed = everything()
    dbt.run("build", "--full-refresh", "--exclude-resource-type", "test", "unit_test")
    assert changed == everything()
    assert changed["staging.stg_raw__actions"] != before["staging.stg_raw__actions"]
    monkeypatch.setattr(dbt, "run", lambda *a, **k: {})  # what is left for the next build
    assert build()["days"] == 0


def test_days_wait_until_a_build_succeeds(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = edited_lake(tmp_path / "lake")
    monkeypatch.setenv("FLASHSALE_LAKE", str(tmp_path / "lake"))
    settings.cache_clear()
    load(lake, DECISIONS)
    monkeypatch.setattr(dbt, "run", lambda *a, **k: (_ for _ in ()).throw(InputError("dbt", "broken", "mend it")))
    with pytest.raises(InputError, match="broken"):
        build()
    seen: list[int] = []
    monkeypatch.setattr(dbt, "run", lambda *a, **k: seen.append(days_of_the_build()) or {})
    assert build()["days"] == 4 and build()["days"] == 0
    assert seen == [4, 0]


def days_of_the_build() -> int:
    with duckdb.connect(str(settings().warehouse_path), read_only=True) as connection:
        return len(connection.execute("SELECT day FROM raw._building").fetchall())


def test_an_edited_project_is_built_in_full(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flashsale.warehouse_build.project_hash", lambda: "edited")
    given: list[tuple[str, ...]] = []
    monkeypatch.setattr(dbt, "run", lambda *a, **k: given.append(a) or {})
    assert build()["full"] and build()["full"] is False
    assert given == [("build", "--full-refresh"), ("build",)]


def test_publishing_never_disturbs_an_open_reader(built: Path) -> None:
    with duckdb.connect(str(settings().snapshot), read_only=True) as reader:
        before = reader.execute("SELECT count(*) FROM marts.fct_orders").fetchone()
        inode = settings().snapshot.stat().st_ino
        publish()
        assert settings().snapshot.stat().st_ino != inode
        assert reader.execute("SELECT count(*) FROM marts.fct_orders").fetchone() == before
    assert warehouse.read("SELECT count(*) AS n FROM marts.fct_orders")["n"][0].as_py() == before[0]  # type: ignore[index]


def test_an_empty_build_is_not_published(tmp_path: Path) -> None:
    duckdb.connect(str(tmp_path / "build.duckdb")).close()
    (tmp_path / "published.duckdb").write_bytes(b"old")
    with pytest.raises(InputError, match="holds no marts"):
        publish_duckdb(tmp_path / "build.duckdb", tmp_path / "published.duckdb")
    assert (tmp_path / "published.duckdb").read_bytes() == b"old"


def test_a_failing_data_test_stops_the_build(built: Path) -> None:
    with duckdb.connect(str(settings().warehouse_path)) as connection:
        connection.execute("DROP VIEW raw.inventory")
        connection.execute(
            "CREATE TABLE raw.inventory (event_id text, event_at timestamptz, sku_id text, region_id text, on_hand bigint)"
        )
        connection.execute("INSERT INTO raw.inventory VALUES ('a', now(), 's', 'r', 1), ('a', now(), 's', 'r', 1)")
    with pytest.raises(InputError, match="source_unique_raw_inventory_event_id") as failure:
        dbt.run("build", "--select", "source:raw.inventory+")
    assert '"unique_field": "a", "n_records": 2' in str(failure.value), "the rows at fault are shown"


def test_a_source_without_a_needed_value_names_the_column(built: Path) -> None:
    with duckdb.connect(str(settings().warehouse_path)) as connection:
        connection.execute("CREATE TABLE raw.other AS SELECT * REPLACE (NULL AS brand) FROM raw.catalog")
        connection.execute("DROP VIEW raw.catalog; ALTER TABLE raw.other RENAME TO catalog")
    with pytest.raises(InputError, match=r'not_null_columns_raw_catalog.*"column_name": "brand", "null_rows": 6'):
        dbt.run("test", "--select", "source:raw.catalog")


def test_a_mart_without_a_needed_value_is_not_built(built: Path) -> None:
    before = len(rows(warehouse.read("SELECT * FROM marts.dim_products")))
    with duckdb.connect(str(settings().warehouse_path)) as connection:
        connection.execute("UPDATE staging.stg_raw__products SET brand = NULL")
    with pytest.raises(InputError, match=r"(?s)dim_products: .*NOT NULL constraint failed: .*brand"):
        dbt.run("run", "--select", "dim_products")
    with duckdb.connect(str(settings().warehouse_path), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM marts.dim_products").fetchone() == (before,)


def rows(table: pa.Table) -> list[tuple[object, ...]]:
    def plain(value: object) -> object:
        return round(value, 6) if isinstance(value, float) else value

    return sorted((tuple(plain(v) for v in r.values()) for r in table.to_pylist()), key=repr)


def test_freshness_names_the_streams_that_are_late(built: Path) -> None:
    newest = datetime.now(UTC) - timedelta(hours=60)
    with duckdb.connect(str(settings().warehouse_path)) as connection:
        for stream, hours in (("orders", 60), ("inventory", 1), ("traffic", 48 * 8)):
            table = connection.execute(f"SELECT * FROM raw.{stream} LIMIT 1").to_arrow_table()
            moment = newest + timedelta(hours=60 - hours)
            at = table.schema.get_field_index("event_at")
            connection.register(
                "one", table.set_column(at, table.schema.field(at), pa.array([moment], table.schema.field(at).type))
            )
            connection.execute(f"DROP VIEW raw.{stream}; CREATE TABLE raw.{stream} AS SELECT * FROM one")
    found = dbt.freshness()
    assert "orders" in found["late"] and "traffic" in found["stale"]
    assert "inventory" not in found["late"] | found["stale"] and found["fresh"] >= 1


@pytest.mark.server
def test_postgres_gives_the_same_marts(built: Path, postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {t: rows(warehouse.read(f"SELECT * FROM marts.{t}")) for t in MARTS}
    monkeypatch.setenv("FLASHSALE_WAREHOUSE_URI", postgres)
    settings.cache_clear()
    lake = Lake(settings().lake_uri)
    assert load(lake, DECISIONS)["changed_days"] > 0
    assert load(lake, DECISIONS)["changed_days"] == 0
    for full in (True, False):  # the second publish swaps a published schema
        assert build()["full"] is full
        publish()
    for name, want in expected.items():
        assert rows(warehouse.read(f"SELECT * FROM marts.{name}")) == want, name
