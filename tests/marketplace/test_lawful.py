"""The law's reference prices of an exam follow the request's days, found by loops over the orders."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import pandas as pd
import pytest

from flashsale.request import SaleRequest, load_request
from marketplace.exam.lawful import reference_prices
from marketplace.marts import build_marts
from marketplace.shop import Shop, build_shop
from marketplace.world import Size


@dataclass(frozen=True)
class Known:
    shop: Shop
    request: SaleRequest
    frames: dict[str, pd.DataFrame]

    def prices(self, days: int) -> dict[str, tuple[float, float]]:
        asked = self.request.model_copy(update={"price_lookback_days": days})
        return reference_prices(self.shop.streams["orders"], asked, self.frames)


@pytest.fixture(scope="module")
def known() -> Known:
    shop = build_shop(Size(seed=5, skus=8, regions=3, sales=8, days=60))
    return Known(shop, load_request(dict(shop.request)), build_marts(shop))


def _by_hand(known: Known, days: int) -> dict[str, float]:
    features = known.frames["features"]
    cutoff = features[features.row_kind == "request"].cutoff_at.min()
    placed: dict[tuple[str, str], tuple[dt.datetime, float]] = {}
    for row in known.shop.streams["orders"].to_pylist():
        key, now = (row["order_id"], row["sku_id"]), (row["event_at"], float(row["unit_price"]))
        placed[key] = min(placed.get(key, now), now)
    lowest: dict[str, float] = {}
    for (_, sku), (moment, price) in placed.items():
        if cutoff - pd.Timedelta(days=days) <= moment < cutoff:
            lowest[sku] = min(lowest.get(sku, float("inf")), price)
    return lowest


@pytest.mark.parametrize("days", [1, 7, 30, 45])
def test_the_lowest_price_is_of_the_days_asked_for(known: Known, days: int) -> None:
    found, lowest = known.prices(days), _by_hand(known, days)
    assert lowest and {sku: pair[1] for sku, pair in found.items() if pair[1] < float("inf")} == lowest
    listed = known.frames["products"].set_index("sku_id").list_price.to_dict()
    assert {sku: pair[0] for sku, pair in found.items()} == listed


def test_days_matter_and_none_is_no_law(known: Known) -> None:
    week, month = known.prices(7), known.prices(30)
    assert all(month[sku][1] <= week[sku][1] for sku in week) and week != month
    assert {pair[1] for pair in known.prices(0).values()} == {float("inf")}


def test_thirty_days_are_those_of_the_feature_rows(known: Known) -> None:
    rows = known.frames["features"].query("row_kind == 'request'").groupby("sku_id")
    found = known.prices(30)
    for sku, own in rows:
        assert found[str(sku)] == (own.list_price.iloc[0], own.lowest_price_30d.fillna(float("inf")).min())


def test_what_is_sold_at_the_cutoff_or_later_counts_for_nothing(known: Known) -> None:
    features = known.frames["features"]
    earlier = features.assign(cutoff_at=features.cutoff_at - pd.Timedelta(days=20))
    moved = Known(known.shop, known.request, {**known.frames, "features": earlier})
    assert {sku: pair[1] for sku, pair in moved.prices(10).items() if pair[1] < float("inf")} == _by_hand(moved, 10)
