"""Reading what a score needs from the warehouse, writing scores to the lake, finding what is still to do."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from flashsale import warehouse
from flashsale.decision_tables import CAMPAIGN_SCORES, PRICE_EXPERIMENTS
from flashsale.errors import InputError
from flashsale.lake import Commit, Lake
from flashsale.request import load_request
from flashsale.settings import settings
from ml.demand import tables as demand
from ml.demand.unconstrain import CELL, unconstrain
from ml.scoring.arms import drawn_skus
from ml.scoring.score import METHOD_VERSION
from ml.scoring.window import POST_DAYS, PRE_DAYS, WAIT_DAYS

DATASET = "decisions/campaign_scores"
READINGS = "decisions/price_experiments"
PLANS = demand.PLANS
REQUESTS = "raw/sale_requests"
BATCH = 20  # sales a task scores: a start costs seconds, a score a fraction of one


@dataclass(frozen=True)
class Material:
    """Everything that scores are made from."""

    offers: pd.DataFrame
    daily: pd.DataFrame
    signals: pd.DataFrame
    products: pd.DataFrame
    warehouses: dict[str, str]


def lake() -> Lake:
    """The platform's lake."""
    return Lake(settings().lake_uri)


def read_material() -> Material:
    """Read ended sales with unconstrained demand, daily sales, text signals and dimensions."""
    cells = demand.ended_cells()
    wanted = unconstrain(cells, demand.sale_hours())
    offers = cells.merge(wanted[[*CELL, "demand", "demand_p10", "demand_p90"]], on=CELL, validate="one_to_one")
    daily = demand.to_frame(
        warehouse.read(
            "select sales_date, sku_id, region_id, units, revenue, in_campaign from marts.fct_daily_sales"
            " order by sku_id, region_id, sales_date"
        )
    )
    signals = demand.to_frame(
        warehouse.read(
            "select signal_date, sku_id, text_count, sentiment_mean from marts.fct_text_signals"
            " order by sku_id, signal_date"
        )
    )
    products = demand.to_frame(warehouse.read("select sku_id, brand, category from marts.dim_products order by sku_id"))
    regions = warehouse.read("select region_id, warehouse_id from marts.dim_regions").to_pylist()
    return Material(offers, daily, signals, products, {r["region_id"]: r["warehouse_id"] for r in regions})


def campaign_hash(material: Material, campaign_id: str) -> str:
    """Hash of what one sale's score rests on: its cells, and daily sales of all series in its windows."""
    offers = material.offers[material.offers["campaign_id"] == campaign_id]
    first = pd.to_datetime(offers["starts_at"], utc=True).min().tz_localize(None).normalize()
    last = pd.to_datetime(offers["ends_at"], utc=True).max().tz_localize(None).normalize()
    day = pd.to_datetime(material.daily["sales_date"], utc=True).dt.tz_localize(None)
    near = (day >= first - pd.Timedelta(days=PRE_DAYS + WAIT_DAYS)) & (day <= last + pd.Timedelta(days=POST_DAYS))
    digest = hashlib.sha256(f"{METHOD_VERSION} {sorted(material.warehouses.items())}".encode())
    for frame in (offers, material.daily[near], material.products):
        digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def scored_hashes() -> dict[str, str]:
    """Data hash of every stored score, by campaign."""
    found = {}
    for manifest in lake().partitions(DATASET).values():
        table = lake().read_one(manifest, columns=["campaign_id", "data_hash"]).slice(0, 1)
        if table.num_rows:
            found[str(table["campaign_id"][0].as_py())] = str(table["data_hash"][0].as_py())
    return found


def write_scores(campaign_id: str, digest: str, frame: pd.DataFrame) -> Commit:
    """Commit the scores of one sale, one partition a sale."""
    whole = frame.assign(campaign_id=campaign_id, data_hash=digest)
    for name in ("units_sold", "allocated_units", "leftover_units", "donors"):
        whole[name] = whole[name].round().astype("int64")
    table = pa.Table.from_pandas(whole, schema=CAMPAIGN_SCORES, preserve_index=False)
    return lake().write(DATASET, f"campaign_id={campaign_id}", table.replace_schema_metadata(None))


def drawn_prices() -> pd.DataFrame:
    """SKUs whose price was drawn by lot in a published plan and whose sale is scored, from `arms.drawn_skus`."""
    plans = demand.published_plans()
    if not plans["experiment_arm"].notna().any() or not lake().partitions(DATASET):
        return drawn_skus(plans, pd.DataFrame(columns=[*CELL[1:], "starts_at", "demand", "counterfactual_units"]))
    scores = demand.to_frame(lake().read(DATASET, columns=[*CELL, "level", "counterfactual_units"]))
    cells = demand.ended_cells()
    wanted = unconstrain(cells, demand.sale_hours())[[*CELL, "demand"]]
    sold = cells.merge(wanted, on=CELL).merge(scores[scores["level"] == "cell"], on=CELL)
    return drawn_skus(plans, sold[[*CELL[1:], "starts_at", "demand", "counterfactual_units"]])


def write_readings(found: list[dict[str, Any]]) -> Commit:
    """Commit what prices by lot say (`arms.readings`), one partition."""
    return lake().write(READINGS, "scope=all", pa.Table.from_pylist(found, schema=PRICE_EXPERIMENTS))


def pending_campaigns(material: Material, everything: bool) -> list[str]:
    """Ended sales without a score for the current data (or all of them), in order of time."""
    order = material.offers.groupby("campaign_id")["starts_at"].min().sort_values(kind="stable").index
    if everything:
        return [str(name) for name in order]
    known = scored_hashes()
    return [str(name) for name in order if known.get(str(name)) != campaign_hash(material, str(name))]


def batches(names: list[str]) -> list[str]:
    """Comma-joined names, `BATCH` at a time."""
    return [",".join(names[i : i + BATCH]) for i in range(0, len(names), BATCH)]


def open_requests(request_id: str | None) -> list[str]:
    """Requests that wait for a plan: sales still ahead of the data, with no decided plan; or the one named.

    Raises:
        InputError: where the named request is not stored.
    """
    stored = lake().partitions(REQUESTS)
    names = {str(_first(manifest, "request_id")): manifest for manifest in stored.values()}
    if request_id:
        if request_id not in names:
            raise InputError(f"sale request {request_id}", "it is not stored", "ingest it, then build the features")
        return [request_id]
    newest = warehouse.read("select max(ordered_at) as t from marts.fct_orders")["t"][0].as_py()
    now = newest.astimezone(UTC) if newest else datetime.now(UTC)
    decided = {
        str(_first(m, "request_id")) for m in lake().partitions(PLANS).values() if _first(m, "status") != "proposed"
    }
    ahead = [n for n, m in names.items() if load_request(str(_first(m, "request_json"))).start_slots[0] > now]
    return sorted(name for name in ahead if name not in decided)


def _first(manifest: Any, column: str) -> Any:
    table = lake().read_one(manifest, columns=[column])
    return table[column][0].as_py() if table.num_rows else None
