"""Scores of a sale in units and money: by cell, by SKU, for the whole sale.

Two questions are kept apart. What did the sale bring (`incremental_sales`, revenue and margin on what was paid)?
And what could it have brought (`incremental_demand`, on demand without stock-outs)? A sale that sold out at once has
a small answer to the first and a large one to the second.

Net margin = incremental margin + margin of sales moved from the days around + margin of other SKUs' halo and
cannibalisation - returns - overstock. Verdict: `win` or `loss` where the net margin's bounds leave zero and the
placebo p is at most 0.05, else `inconclusive`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.scoring.campaign import Effects, SaleEffects, sale_effects
from ml.scoring.panel import Panel
from ml.scoring.sums import Sums
from ml.scoring.uncertainty import ALPHA
from ml.scoring.window import own_days, usual_length, window_of

Floats = npt.NDArray[np.float64]

OVERSTOCK_SHARE = 0.05  # of unit cost, for each unit left: handling and markdown, an assumption
RETURN_LOSS_SHARE = 0.3  # of unit cost, for each unit that came back: an assumption
METHOD_VERSION = "contest-3"
BOUNDED = ("incremental_sales", "incremental_revenue", "incremental_margin", "net_margin")


def score_campaign(
    panel: Panel, offers: pd.DataFrame, signals: pd.DataFrame, products: pd.DataFrame, warehouses: dict[str, str]
) -> pd.DataFrame:
    """Score one sale.

    Args:
        panel: daily sales of all series.
        offers: the sale's rows of `fct_sale_performance` with `demand`, `demand_p10`, `demand_p90`.
        signals: `fct_text_signals`: `signal_date`, `sku_id`, `text_count`, `sentiment_mean`.
        products: `sku_id`, `brand`, `category`.
        warehouses: warehouse of each region.

    Returns:
        Rows of levels `cell`, `sku` and `campaign` in the columns of `CAMPAIGN_SCORES`, less hash and key.
    """
    offers = offers.sort_values(["sku_id", "region_id"], kind="stable").reset_index(drop=True)
    # offers may start days apart: the sale's days are those that any touches, a cell's those that its own touches
    starts, ends = pd.Timestamp(offers["starts_at"].min()), pd.Timestamp(offers["ends_at"].max())
    window = window_of(panel, starts, ends)
    sale = sale_effects(panel, offers, window, products, warehouses)
    during, _ = own_days(panel, offers)
    cells = _cells(panel, offers, sale.cells, during)
    spill, spill_spread = _spillover(sale, cells["usual_margin"].to_numpy(dtype=np.float64))
    cells = cells.join(spill).join(_sentiment(offers, signals, starts, ends))
    sums = Sums(sale, _weights(cells), spill_spread, usual_length(during))
    by_sku = [list(index) for index in cells.groupby("sku_id", sort=True).groups.values()]
    levels = [
        (cells.assign(level="cell"), [[i] for i in range(len(cells))]),
        (_roll_up(cells, by_sku, "sku"), by_sku),
        (_roll_up(cells, [list(cells.index)], "campaign"), [list(cells.index)]),
    ]
    return pd.concat([_finish(frame, sums, groups) for frame, groups in levels], ignore_index=True)


def _weights(cells: pd.DataFrame) -> dict[str, Floats]:
    """What a unit's error is worth in each bounded figure, by cell."""
    margin = cells["usual_margin"].abs().to_numpy(dtype=np.float64)
    return {
        "incremental_sales": np.ones(len(cells)),
        "incremental_revenue": cells["list_price"].to_numpy(dtype=np.float64),
        "incremental_margin": margin,
        "net_margin": margin,
    }


def _cells(panel: Panel, offers: pd.DataFrame, effects: Effects, during: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Additive quantities of every cell."""
    rows = panel.keys.get_indexer(pd.MultiIndex.from_frame(offers[["sku_id", "region_id"]]))
    known = np.maximum(rows, 0)
    units, revenue = (
        np.where(rows >= 0, np.where(during, given[known], 0.0).sum(axis=1), offers[name])
        for given, name in ((panel.units, "units_sold"), (panel.revenue, "revenue"))
    )
    cost = (offers["unit_cost"] + offers["shipping_cost"]).to_numpy(dtype=np.float64)
    usual_margin = offers["list_price"].to_numpy(dtype=np.float64) - cost
    lost = np.maximum(offers["demand"] - offers["units_sold"], 0.0)
    margin = revenue - cost * units - effects.counterfactual * usual_margin
    leftover = np.maximum(offers["allocated_units"] - offers["units_sold"], 0)
    returns = offers["refunds"] - offers["units_returned"] * offers["unit_cost"] * (1.0 - RETURN_LOSS_SHARE)
    return pd.DataFrame(
        {
            "sku_id": offers["sku_id"],
            "region_id": offers["region_id"],
            "units_sold": offers["units_sold"].astype("int64"),
            "unconstrained_demand": offers["demand"].astype(float),
            "lost_units": lost,
            "lost_low": np.maximum(offers["demand_p10"] - offers["units_sold"], 0.0),
            "lost_high": np.maximum(offers["demand_p90"] - offers["units_sold"], 0.0),
            "allocated_units": offers["allocated_units"].astype("int64"),
            "leftover_units": leftover.astype("int64"),
            "counterfactual_units": effects.counterfactual,
            "incremental_sales": effects.effect,
            "incremental_revenue": revenue - effects.counterfactual * offers["list_price"],
            "incremental_margin": margin,
            "pull_forward_units": effects.shift,
            "shift_margin": effects.shift * usual_margin,
            "usual_margin": usual_margin,
            "list_price": offers["list_price"].astype(float),
            "promotion_cost": np.maximum(returns, 0.0) + OVERSTOCK_SHARE * leftover * offers["unit_cost"],
            "discount_given": np.maximum(offers["list_price"] - offers["offer_price"], 0.0) * offers["units_sold"],
        }
    )


def _spillover(sale: SaleEffects, usual_margin: Floats) -> tuple[pd.DataFrame, Floats]:
    """Effects on SKUs outside the sale, in its regions: halo (same brand), cannibalisation (same category).

    Each is shared out evenly over the cells it is tied to, so that cells add up. An outside SKU's margin is taken to be
    that of the SKU of the sale it is tied to. Returns units and margin by cell, and the standard deviation of what each
    tie adds to a cell's margin, shape (cells, ties).
    """
    n = len(sale.cells.effect)
    units, spread = {True: np.zeros(n), False: np.zeros(n)}, np.zeros((n, len(sale.ties)))
    for k in np.flatnonzero(sale.around.scored):  # a rough mean of the others would add noise that no bound owns to
        tie = sale.ties[k]
        share = 1.0 / len(tie.cells)
        units[tie.halo][tie.cells] += sale.around.effect[k] * share
        spread[tie.cells, k] = sale.around.spread[k] * share * usual_margin[tie.cells]
    frame = pd.DataFrame({"halo_units": units[True], "cannibalised_units": units[False]})
    frame["spill_margin"] = (frame["halo_units"] + frame["cannibalised_units"]) * usual_margin
    return frame, spread


def _sentiment(offers: pd.DataFrame, signals: pd.DataFrame, starts: pd.Timestamp, ends: pd.Timestamp) -> pd.DataFrame:
    """Mean sentiment of texts about each cell's SKU: week before, days of the sale, week after; NaN where none."""
    day = pd.to_datetime(signals["signal_date"]).dt.tz_localize(None)
    first, last = (
        m.tz_convert("UTC").tz_localize(None).normalize() for m in (starts, ends - pd.Timedelta(microseconds=1))
    )
    week = pd.Timedelta(days=7)
    masks = {
        "sentiment_before": (day >= first - week) & (day < first),
        "sentiment_during": (day >= first) & (day <= last),
        "sentiment_after": (day > last) & (day <= last + week),
    }
    out = pd.DataFrame(index=offers.index)
    weighted = signals["sentiment_mean"] * signals["text_count"]
    for name, mask in masks.items():
        total = weighted[mask].groupby(signals["sku_id"][mask]).sum()
        count = signals["text_count"][mask].groupby(signals["sku_id"][mask]).sum()
        out[name] = offers["sku_id"].map(total / count).astype(float)
        out[f"{name}_count"] = offers["sku_id"].map(count).fillna(0.0).astype(float)
    return out


def _roll_up(cells: pd.DataFrame, groups: list[list[int]], level: str) -> pd.DataFrame:
    """Sums over a SKU's regions, or over the whole sale."""
    rows = []
    for group in groups:
        part = cells.loc[group]
        row = part.select_dtypes("number").sum()
        for name in ("sentiment_before", "sentiment_during", "sentiment_after"):
            count = part[f"{name}_count"]
            row[name] = float((part[name].fillna(0.0) * count).sum() / count.sum()) if count.sum() else np.nan
        rows.append(row)
    frame = pd.DataFrame(rows).reset_index(drop=True)
    frame["level"] = level
    frame["sku_id"] = [str(cells.loc[group[0], "sku_id"]) if level == "sku" else None for group in groups]
    frame["region_id"] = None
    return frame


def _finish(frame: pd.DataFrame, sums: Sums, groups: list[list[int]]) -> pd.DataFrame:
    """Bounds, p values, net margin and verdict of rows that stand for groups of cells."""
    out = frame.copy()
    found = [sums.of(group) for group in groups]
    out["placebo_p"], out["donors"] = [f.p for f in found], sums.sale.donors
    out["smallest_detectable_units"] = [f.half["incremental_sales"] for f in found]
    out["pre_fit_error"] = [f.error for f in found]
    out["method"] = [f.method for f in found]
    out["incremental_demand"] = out["incremental_sales"] + out["lost_units"]
    out["net_margin"] = out["incremental_margin"] + out["shift_margin"] + out["spill_margin"] - out["promotion_cost"]
    for name in BOUNDED:
        half = np.array([f.half[name] for f in found])
        out[f"{name}_lower"], out[f"{name}_upper"] = out[name] - half, out[name] + half
    half = np.array([f.half["incremental_sales"] for f in found])
    # Demand adds what is unsure about lost units.
    out["incremental_demand_lower"] = out["incremental_sales"] - half + out["lost_low"]
    out["incremental_demand_upper"] = out["incremental_sales"] + half + out["lost_high"]
    spent = out["discount_given"] + out["promotion_cost"]
    out["return_on_promotion"] = np.where(spent > 0, out["net_margin"] / spent.where(spent > 0, 1.0), np.nan)
    out["sell_through"] = out["units_sold"] / out["allocated_units"].where(out["allocated_units"] > 0)
    out["verdict"] = _verdict(out)
    return out


def _verdict(out: pd.DataFrame) -> list[str]:
    sure = out["placebo_p"] <= ALPHA
    win, loss = sure & (out["net_margin_lower"] > 0), sure & (out["net_margin_upper"] < 0)
    return [str(v) for v in np.where(win, "win", np.where(loss, "loss", "inconclusive"))]
