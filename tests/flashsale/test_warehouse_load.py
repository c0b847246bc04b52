"""Lake → warehouse → snapshot on DuckDB, and the same build on a real PostgreSQL with the same results."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from flashsale import dbt, warehouse
from flashsale.contracts import STREAMS
from flashsale.decision_tables import DECISIONS
from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.settings import settings
from flashsale.times import Window
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
    "fct_text_signals",
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
    return folder


@pytest.fixture(scope="module")
def built_once(shop_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The warehouse folder of a home that was loaded, built and published."""
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLASHSALE_HOME", str(folder))
        patch.setenv("FLASHSALE_LAKE", str(shop_lake))
        settings.cache_clear()
        load(Lake(settings().lake_uri), DECISIONS)
        dbt.run("build")
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
    with pytest.raises(InputError, match="source_unique_raw_inventory_event_id"):
        dbt.run("build")


def rows(table: pa.Table) -> list[tuple[object, ...]]:
    def plain(value: object) -> object:
        return round(value, 6) if isinstance(value, float) else value

    return sorted((tuple(plain(v) for v in r.values()) for r in table.to_pylist()), key=repr)


@pytest.mark.server
def test_postgres_gives_the_same_marts(built: Path, postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {t: rows(warehouse.read(f"SELECT * FROM marts.{t}")) for t in MARTS}
    monkeypatch.setenv("FLASHSALE_WAREHOUSE_URI", postgres)
    settings.cache_clear()
    lake = Lake(settings().lake_uri)
    assert load(lake, DECISIONS)["changed_days"] > 0
    assert load(lake, DECISIONS)["changed_days"] == 0
    for _ in range(2):  # the second publish swaps a published schema
        dbt.run("build")
        publish()
    for name, want in expected.items():
        assert rows(warehouse.read(f"SELECT * FROM marts.{name}")) == want, name
