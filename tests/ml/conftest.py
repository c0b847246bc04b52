"""Decision tables of a small simulated shop, made by plain SQL that shares nothing with the dbt models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from flashsale.lake import Lake
from flashsale.request import SaleRequest, load_request
from flashsale.settings import settings
from flashsale.tables import SALE_REQUESTS
from marketplace.marts import build_marts
from marketplace.shop import build_shop
from marketplace.world import Size
from ml.__main__ import main


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


def publish_snapshot(frames: ShopFrames) -> None:
    """The tables that the commands read, in a DuckDB file where the platform publishes its snapshot."""
    days = frames.daily.assign(
        ordered_at=pd.to_datetime(frames.daily.sales_date, utc=True), unit_price=frames.daily.list_price
    )
    offers = frames.performance.assign(
        ordered_at=frames.performance.starts_at, unit_price=frames.performance.offer_price
    )
    columns = ["ordered_at", "sku_id", "unit_price"]
    tables = {
        "fct_sale_performance": frames.performance,
        "fct_sale_hours": frames.hours,
        "fct_daily_sales": frames.daily,
        "fct_text_signals": frames.signals.assign(model_version="labels"),
        "feat_demand": frames.features,
        "dim_products": frames.products.assign(currency="CNY"),
        "dim_regions": frames.regions,
        "dim_campaigns": frames.performance[["campaign_id"]].drop_duplicates().assign(unknown_sku=pd.NA),
        "fct_orders": pd.concat([days[columns], offers[columns]]),
    }
    settings().snapshot.parent.mkdir(parents=True)
    with duckdb.connect(str(settings().snapshot)) as db:
        db.execute("create schema marts")
        for name, frame in tables.items():
            db.register("frame", pa.Table.from_pandas(frame, preserve_index=False))
            db.execute(f"create table marts.{name} as select * from frame")


def store_request(request: Any) -> None:
    """The request, in the lake of the test's home."""
    rows = [
        {
            "request_id": request.request_id,
            "sku_id": s.sku_id,
            "region_id": r.region_id,
            "starts_at": request.start_slots[0],
            "duration_hours": request.duration_hours,
            "as_of": request.as_of,
            "unit_cost": s.unit_cost,
            "request_json": request.canonical_json(),
        }
        for s in request.skus
        for r in request.regions
    ]
    table = pa.Table.from_pylist(rows, SALE_REQUESTS)
    Lake(settings().lake_uri).write("raw/sale_requests", f"request_id={request.request_id}", table)


@pytest.fixture()
def platform(home: Path) -> ShopFrames:
    """A home whose snapshot and lake hold a small shop and its request."""
    frames = build_frames(Size(seed=4, skus=10, regions=3, sales=14, days=100))
    publish_snapshot(frames)
    store_request(frames.request)
    return frames


def run_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What `python -m ml …` prints last."""
    assert main(arguments) == 0, capsys.readouterr().err
    answer: dict[str, Any] = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    return answer
