"""The simulated shop: one seed one world, streams as contracted, stock respected, truth kept apart."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from flashsale.contracts import STREAMS, load_contract
from flashsale.request import load_request
from marketplace.cli import main
from marketplace.shop import Shop, build_shop, write_shop
from marketplace.world import Size

SMALL = Size(seed=5, skus=8, regions=3, sales=8, days=60)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return build_shop(SMALL)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_seed_same_bytes_and_another_seed_differs(shop: Shop, tmp_path: Path) -> None:
    write_shop(shop, tmp_path / "a")
    write_shop(build_shop(SMALL), tmp_path / "b")
    write_shop(build_shop(Size(seed=6, skus=8, regions=3, sales=8, days=60)), tmp_path / "c")
    a, b, c = (_digests(tmp_path / name) for name in "abc")
    assert a == b
    assert all(a[f"{s}.parquet"] != c[f"{s}.parquet"] for s in ("orders", "traffic", "campaigns", "reviews"))


@pytest.mark.parametrize("stream", STREAMS)
def test_streams_match_their_contract(shop: Shop, stream: str) -> None:
    table, contract = shop.streams[stream], load_contract(stream)
    assert table.schema.equals(contract.arrow_schema())
    assert table.num_rows > 0
    assert pc.count_distinct(table["event_id"]).as_py() == table.num_rows
    for rule in contract.fields:
        column = table[rule.name]
        assert rule.nullable or column.null_count == 0, rule.name
        if rule.allowed:
            assert set(pc.unique(column).to_pylist()) - {None} <= set(rule.allowed)
        if rule.min is not None:
            assert pc.min(column).as_py() >= rule.min
    moments = table["event_at"]
    first, last = pc.min(moments).as_py(), pc.max(moments).as_py()
    end = dt.datetime(2026, 11, 10, tzinfo=dt.UTC)
    assert end - dt.timedelta(days=60) <= first
    assert last < end


def test_units_sold_never_exceed_stock_and_some_cells_sell_out(shop: Shop) -> None:
    orders = shop.streams["orders"].to_pandas()
    offers = shop.streams["campaigns"].to_pandas()
    key = ["campaign_id", "sku_id", "region_id"]
    placed = orders[(orders.status == "placed") & orders.campaign_id.notna()]
    joined = offers.merge(placed.groupby(key).quantity.sum().reset_index(), on=key, how="left")
    assert (joined.quantity.fillna(0) <= joined.allocated_units).all()
    share = (joined.quantity == joined.allocated_units).mean()
    assert 0.25 < share < 0.75
    within = placed.merge(offers, on=key)
    assert len(within) == len(placed)
    assert ((within.event_at_x >= within.starts_at) & (within.event_at_x < within.ends_at)).all()


def test_a_sold_out_cell_reads_zero_when_its_last_unit_goes(shop: Shop) -> None:
    orders = shop.streams["orders"].to_pandas()
    offers = shop.streams["campaigns"].to_pandas()
    stock = shop.streams["inventory"].to_pandas()
    key = ["campaign_id", "sku_id", "region_id"]
    placed = orders[(orders.status == "placed") & orders.campaign_id.notna()]
    cells = offers.merge(placed.groupby(key).agg(units=("quantity", "sum"), last=("event_at", "max")).reset_index())
    readings = {(r.sku_id, r.region_id, r.event_at): r.on_hand for r in stock.itertuples()}
    for cell in cells.itertuples():
        assert readings[cell.sku_id, cell.region_id, cell.starts_at] == cell.allocated_units
        if cell.units == cell.allocated_units:
            assert readings[cell.sku_id, cell.region_id, cell.last] == 0


def test_offers_are_announced_two_days_ahead(shop: Shop) -> None:
    offers = shop.streams["campaigns"].to_pandas()
    assert (offers.starts_at - offers.event_at >= dt.timedelta(days=2)).all()


def test_truth_is_in_no_stream(shop: Shop, tmp_path: Path) -> None:
    hidden = {name for table in shop.truth.values() for name in table.column_names}
    hidden -= {"campaign_id", "sku_id", "region_id", "offer_price", "promo_type", "starts_at"}
    for table in shop.streams.values():
        assert not hidden & set(table.column_names)
    write_shop(shop, tmp_path)
    assert not hidden & set(" ".join(p.stem for p in tmp_path.glob("*.parquet")).split())
    assert {p.stem for p in tmp_path.glob("*.parquet")} == set(STREAMS)


def test_posts_before_a_sale_announce_its_shock() -> None:
    shop = build_shop(Size(seed=3, skus=20, regions=2, sales=20, days=120))
    truth = shop.truth["campaign_cells"].to_pandas().groupby(["campaign_id", "sku_id"]).shock.first().reset_index()
    starts = shop.streams["campaigns"].to_pandas().groupby("campaign_id").starts_at.first()
    posts = shop.streams["social_posts"].to_pandas()
    counts = []
    for row in truth.itertuples():
        start = starts[row.campaign_id]
        lead = start - dt.timedelta(days=1)
        mine = posts[(posts.sku_id == row.sku_id) & (posts.event_at < lead)]
        counts.append(int((mine.event_at >= start - dt.timedelta(days=7)).sum()))
    assert np.corrcoef(np.log1p(counts), truth.shock)[0, 1] > 0.6


def test_request_is_valid_and_lawful(shop: Shop) -> None:
    asked = load_request(dict(shop.request))
    assert asked.as_of == dt.datetime(2026, 11, 10, tzinfo=dt.UTC)
    offers = shop.streams["campaigns"].to_pandas()
    recent = offers[offers.ends_at > asked.as_of - dt.timedelta(days=30)]
    for sku in asked.skus:
        lowest = min(recent[recent.sku_id == sku.sku_id].offer_price, default=None)
        assert lowest is None or max(sku.prices) <= lowest
    cells = shop.truth["next_sale"].to_pandas()
    assert set(cells.sku_id) == {s.sku_id for s in asked.skus}
    low_first = cells.sort_values("offer_price").groupby(["sku_id", "region_id", "promo_type", "starts_at"]).mean_units
    assert (low_first.first() >= low_first.last()).all()  # a lower price never lowers true demand


def test_command_line_writes_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["write", "--out", str(tmp_path / "x"), "--skus", "2"]) == 2
    assert "skus = 2" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    assert (
        main(
            [
                "write",
                "--out",
                str(tmp_path / "y"),
                "--skus",
                "5",
                "--regions",
                "2",
                "--sales",
                "3",
                "--days",
                "40",
            ]
        )
        == 0
    )
    assert pq.read_metadata(tmp_path / "y" / "orders.parquet").num_rows > 100
