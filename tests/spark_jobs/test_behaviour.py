"""Sessions and behaviour of the small shop's visitors: Spark and dbt, each the other's oracle."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from flashsale import dbt
from flashsale.contracts import STREAMS
from flashsale.decision_tables import DECISIONS
from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.settings import settings
from flashsale.times import Window
from flashsale.warehouse_load import load
from flashsale_plugins.ingest import Gatekeeper, ingest_stream
from flashsale_plugins.sources import open_source

ALWAYS = Window(datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))


def pauses() -> list[dict[str, Any]]:
    """A visitor whose pauses are of 30 minutes, of a microsecond more, and over midnight."""
    places = [timedelta(0), timedelta(minutes=30), timedelta(minutes=60, microseconds=1), timedelta(minutes=70)]
    actions = ["impression", "view", "cart", "view"]
    return [
        {"event_id": f"p{i}", "event_at": datetime(2025, 1, 1, 23, 20, tzinfo=UTC) + place, "session_id": f"x{i % 2}",
         "user_id": "u_pauses", "sku_id": f"s{i % 2}", "region_id": "r1", "action": action, "campaign_id": None}
        for i, (place, action) in enumerate(zip(places, actions, strict=True))
    ]  # fmt: skip


@pytest.fixture(scope="module")
def lake(small_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    made = Lake(str(tmp_path_factory.mktemp("behaviour") / "lake"))
    source = open_source(str(small_shop))
    keeper = Gatekeeper(made, b"key", datetime(2030, 1, 1, tzinfo=UTC))
    for stream in STREAMS:
        ingest_stream(source, stream, ALWAYS, keeper)
    schema = made.read("raw/traffic").schema
    rows = pa.Table.from_pylist(pauses(), schema=schema)
    for day in ("2025-01-01", "2025-01-02"):
        own = [row["event_at"].strftime("%Y-%m-%d") == day for row in rows.to_pylist()]
        kept = [made.read("raw/traffic", [f"date={day}"])] if made.manifest("raw/traffic", f"date={day}") else []
        made.write("raw/traffic", f"date={day}", pa.concat_tables([*kept, rows.filter(pa.array(own))]))
    return made


def ordered(table: pa.Table, key: list[str]) -> pd.DataFrame:
    frame: pd.DataFrame = table.select(sorted(table.column_names)).to_pandas()
    return frame.sort_values(key).reset_index(drop=True)


def test_spark_and_dbt_agree(spark: Any, lake: Lake, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spark_jobs.sessionize_traffic import SESSIONS, USERS, run

    done = run(spark, lake, buckets=3)
    monkeypatch.setenv("FLASHSALE_LAKE", lake.uri)
    settings.cache_clear()
    load(Lake(settings().lake_uri), DECISIONS)
    dbt.run("build", "--select", "+feat_user_behaviour", "--exclude-resource-type", "test")
    with duckdb.connect(str(settings().warehouse_path), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for table, dataset, schema, key in (
            ("intermediate.int_sessions", "behaviour/sessions", SESSIONS, ["user_id", "session_number"]),
            ("marts.feat_user_behaviour", "behaviour/users", USERS, ["user_id"]),
        ):
            theirs = connection.execute(f"SELECT * FROM {table}").to_arrow_table()
            assert set(theirs.column_names) == set(schema.names)
            ours = lake.read(dataset)
            assert ours.schema.equals(schema)
            theirs = theirs.select(schema.names).cast(schema)
            pd.testing.assert_frame_equal(ordered(ours, key), ordered(theirs, key), check_exact=False, rtol=1e-12)
    assert done["sessions"] == lake.read("behaviour/sessions").num_rows > done["users"] > 100

    own = [r for r in lake.read("behaviour/sessions").to_pylist() if r["user_id"] == "u_pauses"]
    assert [(r["session_number"], r["actions"], r["skus"], str(r["session_date"])) for r in own] == [
        (1, 2, 2, "2025-01-01"),
        (2, 2, 2, "2025-01-02"),
    ]
    users = lake.read("behaviour/users").to_pandas()
    assert users["carts_bought"].sum() > 0 and (users["cart_conversion"].dropna() <= 1).all()
    assert users["recency_days"].min() == 0


def test_running_again_does_nothing_and_a_changed_day_rewrites_what_changed(
    spark: Any, lake: Lake, tmp_path: Path
) -> None:
    from spark_jobs.sessionize_traffic import run

    other = Lake(str(tmp_path / "lake"))
    for stream in ("traffic", "orders"):
        for partition, manifest in lake.partitions(f"raw/{stream}").items():
            other.write(f"raw/{stream}", partition, lake.read_one(manifest))
    first = run(spark, other, buckets=3)
    before = {p: m.content_hash for p, m in other.partitions("behaviour/sessions").items()}
    assert run(spark, other, buckets=3) == {"sessions": 0, "users": 0, "changed": 0}
    last = sorted(other.partitions("raw/traffic"))[-1]
    other.write("raw/traffic", last, other.read("raw/traffic", [last]).slice(0, 5))
    again = run(spark, other, buckets=3)
    assert again["sessions"] < first["sessions"]
    after = {p: m.content_hash for p, m in other.partitions("behaviour/sessions").items()}
    assert {p for p in before if before[p] != after[p]} <= {last, sorted(before)[-2]} and before[last] != after[last]


def test_nothing_to_read_is_said(spark: Any, tmp_path: Path) -> None:
    from spark_jobs.sessionize_traffic import run

    with pytest.raises(InputError, match="stream traffic: nothing is committed"):
        run(spark, Lake(str(tmp_path / "lake")))
