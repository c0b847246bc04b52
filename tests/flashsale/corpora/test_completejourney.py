"""The Complete Journey adapter, on a small made-up shop with known promotion weeks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flashsale.contracts import load_contract
from flashsale.corpora import completejourney
from flashsale.request import load_request

PROMOTED_WEEKS = (10, 20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """52 weeks of 3 products in 6 stores; product 1 is 30 % off in two weeks; one fuel row, one huge row."""
    path = tmp_path_factory.mktemp("cj")
    rng = np.random.default_rng(0)
    rows = []
    for day in range(364):
        week = day // 7
        for product in (1, 2, 3):
            for _ in range(4):
                off = 0.30 if product == 1 and week in PROMOTED_WEEKS else 0.0
                moment = pd.Timestamp("2017-01-02 06:00") + pd.Timedelta(days=day, minutes=int(rng.integers(0, 900)))
                rows.append(
                    (
                        int(rng.integers(1, 9)),
                        int(rng.integers(1, 7)),
                        len(rows),
                        product,
                        1,
                        round(10 * (1 - off), 2),
                        round(10 * off, 2),
                        0.0,
                        0.0,
                        week + 1,
                        moment,
                    )
                )
    rows.append((1, 1, 10**6, 4, 5, 50.0, 0.0, 0.0, 0.0, 1, pd.Timestamp("2017-02-01")))  # fuel
    rows.append((1, 1, 10**6 + 1, 2, 9000, 90.0, 0.0, 0.0, 0.0, 1, pd.Timestamp("2017-02-01")))
    names = [
        "household_id",
        "store_id",
        "basket_id",
        "product_id",
        "quantity",
        "sales_value",
        "retail_disc",
        "coupon_disc",
        "coupon_match_disc",
        "week",
        "transaction_timestamp",
    ]
    pd.DataFrame(rows, columns=names).to_parquet(path / "transactions.parquet")
    pd.DataFrame(
        {
            "product_id": [1, 2, 3, 4],
            "manufacturer_id": 7,
            "department": "GROCERY",
            "brand": "National",
            "product_category": ["SOUP", "SOUP", "CORN", "FUEL"],
            "product_type": "TYPE",
            "package_size": ["1 LB"] * 3 + [None],
        }
    ).to_parquet(path / "products.parquet")
    return path


def test_promotion_weeks_become_sales_and_oddities_are_left_out(folder: Path) -> None:
    journey = completejourney.build(folder, skus=3, regions=2)
    offers = journey.streams["campaigns"].to_pandas()
    assert set(offers.campaign_id) == {"cj-201711", "cj-201721"}
    assert set(offers.sku_id) == {"cj-1"}
    assert (offers.offer_price.astype(float) == 7.0).all()
    orders = journey.streams["orders"].to_pandas()
    assert set(orders.sku_id) == {"cj-1", "cj-2", "cj-3"}
    assert orders.quantity.max() == 1
    inside = orders[orders.campaign_id.notna()].merge(offers, on=["campaign_id", "sku_id", "region_id"])
    assert len(inside) == orders.campaign_id.notna().sum() == 2 * 7 * 4
    assert ((inside.event_at_x >= inside.starts_at) & (inside.event_at_x < inside.ends_at)).all()


def test_streams_hold_the_contracts_and_the_request_is_valid(folder: Path) -> None:
    journey = completejourney.build(folder, skus=3, regions=2)
    for name, table in journey.streams.items():
        assert table.schema.equals(load_contract(name).arrow_schema())
        table.validate(full=True)
        assert len(set(table["event_id"].to_pylist())) == table.num_rows
    request = load_request(journey.request)
    assert {s.sku_id for s in request.skus} == {"cj-1"}
    assert request.as_of is not None
    assert request.as_of > journey.streams["orders"]["event_at"].to_pylist()[-1]


def test_assumed_stock_never_runs_out(folder: Path) -> None:
    journey = completejourney.build(folder, skus=3, regions=2)
    orders, offers = journey.streams["orders"].to_pandas(), journey.streams["campaigns"].to_pandas()
    key = ["campaign_id", "sku_id", "region_id"]
    sold = orders[orders.campaign_id.notna()].groupby(key).quantity.sum()
    assert (offers.set_index(key).allocated_units > sold.reindex(offers.set_index(key).index).fillna(0)).all()
    assert journey.streams["inventory"].to_pandas().on_hand.min() > 0


def test_the_installed_package_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    folder = completejourney.data_folder()
    for name in "ab":
        completejourney.write(completejourney.build(folder, skus=6, regions=2), tmp_path / name)
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
