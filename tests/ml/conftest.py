"""Decision tables of a small simulated shop, made by plain SQL that shares nothing with the dbt models."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import pytest

from flashsale.request import SaleRequest, load_request
from marketplace.marts import build_marts
from marketplace.shop import build_shop
from marketplace.world import Size


@dataclass(frozen=True)
class ShopFrames:
    """Marts of a simulated shop, and its sealed truth."""

    performance: pd.DataFrame
    hours: pd.DataFrame
    daily: pd.DataFrame
    signals: pd.DataFrame
    features: pd.DataFrame
    products: pd.DataFrame
    regions: pd.DataFrame
    request: SaleRequest
    truth: pd.DataFrame
    next_truth: pd.DataFrame
    elasticity: pd.DataFrame


def build_frames(size: Size) -> ShopFrames:
    """A simulated shop's marts in memory."""
    shop = build_shop(size)
    truth = {name: table.to_pandas() for name, table in shop.truth.items()}
    return ShopFrames(
        **build_marts(shop),
        request=load_request(dict(shop.request)),
        truth=truth["campaign_cells"],
        next_truth=truth["next_sale"],
        elasticity=truth["products"],
    )


@pytest.fixture(scope="session")
def shop() -> ShopFrames:
    """The default simulated shop as decision tables."""
    return build_frames(Size())
