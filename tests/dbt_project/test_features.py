"""Features against an independent oracle, and the leakage test: nothing that happens later moves a feature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from flashsale import dbt, warehouse
from flashsale.contracts import STREAMS
from flashsale.decision_tables import DECISIONS
from flashsale.lake import Lake
from flashsale.settings import settings
from flashsale.tables import SCORED_TEXTS, TEXT_FLAGS
from flashsale.times import Window
from flashsale.warehouse_load import SERVED, load, publish
from flashsale_plugins.ingest import Gatekeeper, ingest_requests, ingest_stream
from flashsale_plugins.sources import open_source

ALWAYS = Window(datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
KEY = ["row_kind", "campaign_id", "sku_id", "region_id"]


def scored(texts: pa.Table) -> pa.Table:
    """Scores that depend on the text alone, in place of the model's."""
    rows = texts.to_pylist()
    values = [(len(r["text"]) % 7) / 10 for r in rows]
    frame = [
        {
            "event_id": r["event_id"],
            "event_at": r["event_at"],
            "stream": r["stream"],
            "sku_id": r["sku_id"],
            "language": "zh",
            "text_hash": str(hash(r["text"])),
            "sentiment": "positive" if v > 0.3 else "negative",
            "p_negative": 1 - v,
            "p_neutral": 0.0,
            "p_positive": v,
            "p_intent": v / 2,
            "spans": "[]",
            "likes": 1,
            "reposts": 0,
            "model_version": "oracle",
        }
        for r, v in zip(rows, values, strict=True)
    ]
    return pa.Table.from_pylist(frame, schema=SCORED_TEXTS)


def by_a_machine(stream: str, text: str) -> bool:
    """Which posts a bot-like author wrote, in place of the cleaning's rule."""
    return stream == "social_posts" and len(text) % 5 == 0


def flagged(texts: pa.Table) -> pa.Table:
    """What cleaning would say of the texts' authors, with a column that the warehouse does not ask for."""
    rows = texts.to_pylist()
    marks = pa.array([by_a_machine(r["stream"], r["text"]) for r in rows])
    columns = [texts[name] for name in ("event_id", "event_at", "stream")]
    flags = pa.table([*columns, marks], names=TEXT_FLAGS.names).cast(TEXT_FLAGS)
    return flags.append_column("clean_text", texts["text"]).sort_by("event_id")


def build(raw: dict[str, pa.Table], source: Path, folder: Path, patch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Commit the streams as a lake, score the texts, build, publish; `feat_demand` in the order of its key."""
    lake = Lake(str(folder / "lake"))
    for stream, table in raw.items():
        ordered = table.sort_by([("event_at", "ascending"), ("event_id", "ascending")])
        days = pc.strftime(ordered["event_at"], format="%Y-%m-%d")
        for day in pc.unique(days).to_pylist():
            lake.write(f"raw/{stream}", f"date={day}", ordered.filter(pc.equal(days, day)))
    texts = pa.concat_tables(
        [
            raw[s].select(["event_id", "event_at", "sku_id", "text"]).append_column("stream", pa.repeat(s, len(raw[s])))
            for s in ("reviews", "social_posts")
        ],
        promote_options="permissive",
    )
    table = scored(texts).sort_by("event_id")
    lake.write("text/scored/model_version=oracle", "date=2020-01-01", table)
    lake.write("text/clean", "date=2020-01-01", flagged(texts))
    lake.write(SERVED, "scope=current", pa.table({"model_version": ["oracle"]}))
    ingest_requests(open_source(str(source)), lake)
    patch.setenv("FLASHSALE_HOME", str(folder))
    settings.cache_clear()
    load(lake, DECISIONS)
    dbt.run("build", "--select", "+feat_demand", "--exclude-resource-type", "test")
    publish()
    found: pd.DataFrame = warehouse.read("SELECT * FROM marts.feat_demand").to_pandas()
    return found.sort_values(KEY).reset_index(drop=True)


@pytest.fixture(scope="module")
def streams(small_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    """The small shop's records after the gate."""
    lake, source = Lake(str(tmp_path_factory.mktemp("gate"))), open_source(str(small_shop))
    keeper = Gatekeeper(lake, b"key", datetime(2030, 1, 1, tzinfo=UTC))
    for stream in STREAMS:
        ingest_stream(source, stream, ALWAYS, keeper)
    return {s: lake.read(f"raw/{s}") for s in STREAMS}


@pytest.fixture(scope="module")
def whole(
    streams: dict[str, pa.Table], small_shop: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[pd.DataFrame]:
    """The features of those records."""
    with pytest.MonkeyPatch.context() as patch:
        yield build(streams, small_shop, tmp_path_factory.mktemp("whole"), patch)
    settings.cache_clear()


def disturbed(table: pa.Table, after: datetime) -> pa.Table:
    """Every record from `after` on comes three days later, and half of them never."""
    late = pc.greater_equal(table["event_at"], pa.scalar(after, pa.timestamp("us", tz="UTC"))).combine_chunks()
    keep, moved = table.filter(pc.invert(late)), table.filter(late)
    moved = moved.take(pa.array(range(0, moved.num_rows, 2), pa.int64()))
    later = pc.add(moved["event_at"], pa.scalar(timedelta(days=3), pa.duration("us"))).cast(moved["event_at"].type)
    return pa.concat_tables(
        [keep, moved.set_column(moved.column_names.index("event_at"), moved.schema.field("event_at"), later)]
    )


def test_nothing_later_moves_a_feature(
    whole: pd.DataFrame, streams: dict[str, pa.Table], small_shop: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = whole[whole["row_kind"] == "campaign"]
    after = past["cutoff_at"].sort_values().unique()[len(past["cutoff_at"].unique()) * 2 // 3].to_pydatetime()
    changed = {s: disturbed(t, after) for s, t in streams.items()}
    assert changed["orders"].num_rows < streams["orders"].num_rows
    other = build(changed, small_shop, home / "other", monkeypatch)

    def known(frame: pd.DataFrame) -> pd.DataFrame:
        rows = frame[(frame["row_kind"] == "campaign") & (frame["cutoff_at"] <= after)]
        return rows.reset_index(drop=True)

    # the action taken is not a feature: what is offered later is another planning's business
    features = [c for c in whole.columns if c not in ("promo_type", "offer_price", "allocated_units")]
    left, right = known(whole)[features], known(other)[features]
    assert len(left) > 30
    pd.testing.assert_frame_equal(left, right)
    moved = whole[whole["cutoff_at"] > after].merge(other, on=KEY, suffixes=("", "_other"))
    assert (moved["base_units_28d"] != moved["base_units_28d_other"]).any()  # the disturbance was real


def voices(streams: dict[str, pa.Table]) -> dict[str, float]:
    """What each post counts: an author's posts of a UTC day count as one together, those of machines not at all."""
    posts = [t for t in streams["social_posts"].to_pylist() if not by_a_machine("social_posts", t["text"])]
    spoken = Counter((post["author_id"], post["event_at"].date()) for post in posts)
    return {post["event_id"]: 1 / spoken[post["author_id"], post["event_at"].date()] for post in posts}


def oracle(streams: dict[str, pa.Table], row: dict[str, Any]) -> dict[str, float]:
    """A planning's features by plain loops over the records."""
    cut: datetime = row["cutoff_at"].to_pydatetime()
    days = [(cut - timedelta(days=n)).date() for n in range(1, 29)]
    actions = [
        a
        for a in streams["traffic"].to_pylist()
        if a["sku_id"] == row["sku_id"] and a["region_id"] == row["region_id"] and a["event_at"].date() in days
    ]
    week = set(days[:7])
    texts = [
        t
        for s in ("reviews", "social_posts")
        for t in streams[s].to_pylist()
        if t["sku_id"] == row["sku_id"] and t["event_at"].date() in week and not by_a_machine(s, t["text"])
    ]
    weight = voices(streams)
    values = [(weight.get(t["event_id"], 1.0), (len(t["text"]) % 7) / 10) for t in texts]
    ended = [
        c
        for c in streams["campaigns"].to_pylist()
        if (c["sku_id"], c["region_id"]) == (row["sku_id"], row["region_id"]) and c["ends_at"] <= cut
    ]
    begun = [c["starts_at"] for c in streams["campaigns"].to_pylist() if c["sku_id"] == row["sku_id"]]
    last = max((s for s in begun if s < cut), default=datetime(2000, 1, 1, tzinfo=UTC))
    ahead = [d for d in week if datetime(d.year, d.month, d.day, tzinfo=UTC) >= last]
    posts = [
        (weight[t["event_id"]], (len(t["text"]) % 7) / 10)
        for t in streams["social_posts"].to_pylist()
        if t["sku_id"] == row["sku_id"]
        and t["event_at"].date() in ahead
        and not by_a_machine("social_posts", t["text"])
    ]
    return {
        "post_days": len(ahead),
        "post_count": sum(w for w, _ in posts),
        "post_sentiment_sum": sum(w * (2 * v - 1) for w, v in posts),
        "post_intent_sum": sum(w * v / 2 for w, v in posts),
        "views_28d": sum(a["action"] == "view" for a in actions),
        "carts_7d": sum(a["action"] == "cart" and a["event_at"].date() in week for a in actions),
        "text_count_7d": sum(w for w, _ in values),
        "intent_sum_7d": sum(w * v / 2 for w, v in values),
        "sentiment_7d": sum(w * (2 * v - 1) for w, v in values) / sum(w for w, _ in values) if values else 0.0,
        "past_sale_count": len(ended),
        **usual_units(streams, row),
    }


def usual_units(streams: dict[str, pa.Table], row: dict[str, Any]) -> dict[str, float]:
    """Mean units a day outside of campaigns by window, from a cell's first order on."""
    orders: dict[str, list[dict[str, Any]]] = {}
    for record in streams["orders"].to_pylist():
        if record["sku_id"] == row["sku_id"]:
            orders.setdefault(record["order_id"], []).append(record)
    sold: Counter[tuple[str, Any]] = Counter()
    first: dict[str, Any] = {}
    for records in orders.values():
        day, region = min(r["event_at"] for r in records).date(), records[0]["region_id"]
        first[region] = min(day, first.get(region, day))
        if all(r["status"] != "cancelled" for r in records):
            sold[region, day] += records[0]["quantity"]
    busy = {
        (c["region_id"], c["starts_at"].date() + timedelta(days=n))
        for c in streams["campaigns"].to_pylist()
        if c["sku_id"] == row["sku_id"]
        for n in range((c["ends_at"] - timedelta(microseconds=1) - c["starts_at"]).days + 2)
        if datetime.combine(c["starts_at"].date() + timedelta(days=n), datetime.min.time(), UTC) < c["ends_at"]
    }

    def mean(region: str, length: int) -> float:
        days = [(row["cutoff_at"] - timedelta(days=n)).date() for n in range(1, length + 1)]
        usual = [d for d in days if region in first and d >= first[region] and (region, d) not in busy]
        return sum(sold[region, d] for d in usual) / len(usual) if usual else 0.0

    here = row["region_id"]
    return {
        "base_units_28d": mean(here, 28),
        "base_units_7d": mean(here, 7),
        "base_units_182d": mean(here, 182),
        "base_units_28d_all": sum(mean(region, 28) for region in first),
    }


def test_features_agree_with_plain_loops(whole: pd.DataFrame, streams: dict[str, pa.Table]) -> None:
    sample = pd.concat(
        [whole[whole["row_kind"] == "request"].head(4), whole[whole["row_kind"] == "campaign"].iloc[::17]]
    )
    for row in sample.to_dict("records"):
        for name, value in oracle(streams, row).items():
            assert row[name] == pytest.approx(value), (name, row["campaign_id"], row["sku_id"], row["region_id"])
