"""Demand that stock-outs hid: the curve method (after Ferreira, Lee, Simchi-Levi 2016), pooled.

A class of offers shares the shape w of its demand over the hours of a sale (`ml.demand.curves`). A cell that had stock
in a share e_h of hour h and sold C units until its stock-out at tau wanted

    (C - 1) / F(tau),  C >= 2,    F(tau) = sum_h w_h e_h

units: for Poisson arrivals C / F(tau) is too large by C / (C - 1), since tau is the time of the C-th arrival.
Where traffic is known, views of the sold-out page say in which cells more was lost (`ml.demand.sold_out_views`).
Cells that did not sell out are left as they are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.demand.curves import pooled_curves
from ml.demand.sold_out_views import views_as_purchases
from ml.demand.spill import fit_spill

Floats = npt.NDArray[np.float64]

CELL = ["campaign_id", "sku_id", "region_id"]
LEVELS: tuple[tuple[str, ...], ...] = (
    (),
    ("start_hour",),
    ("start_hour", "category"),
    ("start_hour", "category", "promo_type"),
)
LEAST_SHARE = 0.02  # a stock-out before this share of demand says next to nothing about the rest
OBSERVED, CURVE, VIEWS, NOTHING = "observed", "curve", "curve_and_views", "nothing_learnt"
SPILL_ROUNDS = 3
OUTPUT = [*CELL, "units", "demand", "demand_p10", "demand_p90", "method", "is_censored", "spilled_units"]


def stockout_estimate(
    units: Floats | float, share: Floats | float, seen: Floats | float = 0.0, exposure: Floats | float = 0.0
) -> Floats:
    """(C - 1) / F: mean demand of Poisson arrivals when the C-th used up the stock at demand share F.

    With a second witness of what came afterwards, what was lost is judged by both: (C - 1) + rate x (1 - F), where rate
    is (C - 1 + `seen`) / (F + `exposure`).

    Args:
        units: C, units sold until the stock-out, at least 2.
        share: F in (0, 1], expected share of the sale's demand until then.
        seen, exposure: purchases and demand share that the witness is worth (`ml.demand.sold_out_views`).
    """
    sold, until = np.asarray(units, dtype=np.float64) - 1.0, np.asarray(share, dtype=np.float64)
    return np.asarray(sold + (sold + seen) / (until + exposure) * (1.0 - until), dtype=np.float64)


def unconstrain(cells: pd.DataFrame, hours: pd.DataFrame, *, counts: bool = True) -> pd.DataFrame:
    """Demand of every cell as it would have been with stock to the end.

    Args:
        cells: one row per campaign x SKU x region: `campaign_id`, `sku_id`, `region_id`, `units_sold`,
            `is_sold_out`, `starts_at`, `duration_hours`, `category`, `promo_type`.
        hours: one row per cell and hour of the sale: the cell's key, `event_hour` (0-based), `units`,
            `in_stock_share` (0 to 1, of the part of the hour in which the offer ran), and where traffic is known
            `sold_out_views`.
        counts: units are whole and the stock-out came with the last unit sold. Otherwise (scaled units, hours
            out of stock for other reasons) C / F is the estimate and no unit is taken off.

    Returns:
        One row a cell in the order of `cells`: key, `units`, `demand` (units), `demand_p10`, `demand_p90`,
        `method` (`observed`, `curve`, `curve_and_views`, `nothing_learnt`), `is_censored`, `spilled_units` (of the
        units sold, those that sold-out rivals of the category sent: see `ml.demand.spill`). Where nothing can be
        learnt (one unit or none sold, or sold out almost at once) demand is the units sold, a lower bound, and the
        method says so.
    """
    frame = cells.reset_index(drop=True).copy()
    frame["start_hour"] = pd.to_datetime(frame["starts_at"], utc=True).dt.hour
    share, own = np.ones(len(frame)), np.ones(len(frame))
    for _, group in frame.groupby("duration_hours", sort=True):
        index = group.index.to_numpy()
        units, exposure = _matrices(group, hours, _hours_of(float(group["duration_hours"].iloc[0])))
        share[index], own[index] = _shares(group, units, exposure, counts)
    return _estimates(frame, share, own, _views(frame, hours) if counts else None)


def _hours_of(duration: float) -> int:
    """Hours that a sale of this many touches: the last may be a part of one."""
    return max(int(np.ceil(duration - 1e-9)), 1)


def _shares(group: pd.DataFrame, units: Floats, exposure: Floats, counts: bool) -> tuple[Floats, Floats]:
    """Share of first-choice demand that found stock, and share of the sales that first choices were; shape (cells,)."""
    classes = [_labels(group, keys) for keys in LEVELS]
    ended = group["is_sold_out"].to_numpy(dtype=bool) & counts
    rivals, inflow = _labels(group, ("campaign_id", "region_id", "category")), np.ones_like(units)
    for _ in range(SPILL_ROUNDS if counts else 0):  # what rivals sent is no part of an offer's curve
        curves = pooled_curves(units, exposure * inflow, ended, classes)
        spill = fit_spill(units, exposure, ended, curves, rivals)
        inflow = spill.inflow
        if not spill.share:
            break
    curves = pooled_curves(units, exposure * inflow, ended, classes)
    own = (curves * exposure).sum(axis=1)
    return np.clip(own, 0.0, 1.0), own / np.maximum((curves * exposure * inflow).sum(axis=1), 1e-9)


def sale_curves(cells: pd.DataFrame, hours: pd.DataFrame, asked: pd.DataFrame, length: int) -> Floats:
    """Expected share of demand in each hour of coming offers, shape (rows of `asked`, length), sums to 1.

    Learnt from past offers of the same length, from wide classes to narrow ones; without any, every hour is alike.

    Args:
        cells, hours: past offers, as for `unconstrain`.
        asked: `starts_at`, `category` and `promo_type` of the coming offers.
        length: their hours.
    """
    past = cells[cells["duration_hours"].round() == length]
    # coming offers stand among the past ones with nothing sold: they take their class's curve and teach it nothing
    names = [f"asked {i}" for i in range(len(asked))]
    coming = asked[["starts_at", "category", "promo_type"]].assign(
        is_sold_out=False, campaign_id=names, sku_id="", region_id=""
    )
    frame = pd.concat([past, coming], ignore_index=True)
    frame["start_hour"] = pd.to_datetime(frame["starts_at"], utc=True).dt.hour
    units, exposure = _matrices(frame, hours, length)
    curves = pooled_curves(units, exposure, frame["is_sold_out"].to_numpy(bool), [_labels(frame, k) for k in LEVELS])
    return np.asarray(curves[len(past) :], dtype=np.float64)


def _labels(cells: pd.DataFrame, keys: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Class of each cell by its columns `keys`, as codes; shape (cells,)."""
    if not keys:
        return np.zeros(len(cells), dtype=np.int64)
    return np.asarray(cells.groupby(list(keys), sort=True).ngroup(), dtype=np.int64)


def _matrices(group: pd.DataFrame, hours: pd.DataFrame, length: int) -> tuple[Floats, Floats]:
    """Units and exposure of a group of cells, shape (cells, length)."""
    key = pd.MultiIndex.from_frame(group[CELL])
    row = key.get_indexer(pd.MultiIndex.from_frame(hours[CELL]))
    hour = hours["event_hour"].to_numpy(dtype=np.int64)
    ok = (row >= 0) & (hour >= 0) & (hour < length)
    units, exposure = np.zeros((len(group), length)), np.ones((len(group), length))
    units[row[ok], hour[ok]] = hours["units"].to_numpy(dtype=np.float64)[ok]
    exposure[row[ok], hour[ok]] = hours["in_stock_share"].to_numpy(dtype=np.float64)[ok]
    return units, np.clip(exposure, 0.0, 1.0)


def _views(frame: pd.DataFrame, hours: pd.DataFrame) -> Floats:
    """Views of every cell's sold-out page, shape (cells,); zeros without traffic."""
    if "sold_out_views" not in hours:
        return np.zeros(len(frame))
    seen = hours.groupby(CELL)["sold_out_views"].sum()
    return np.asarray(seen.reindex(pd.MultiIndex.from_frame(frame[CELL])).fillna(0.0), dtype=np.float64)


def first_choices(demand: pd.DataFrame) -> pd.Series:
    """Demand of customers who wanted this very offer: what `unconstrain` gives, less what sold-out rivals sent."""
    return (demand["demand"] - demand["spilled_units"]).clip(lower=0.0)


def _estimates(frame: pd.DataFrame, share: Floats, own: Floats, views: Floats | None) -> pd.DataFrame:
    """The output of `unconstrain`.

    Args:
        share: share of first-choice demand that found stock, shape (cells,).
        own: share of first choices in what was sold.
        views: views of sold-out pages; None where units are no counts.
    """
    from scipy.stats import nbinom

    units = frame["units_sold"].to_numpy(dtype=np.float64)
    censored = frame["is_sold_out"].to_numpy(dtype=bool)
    counts = views is not None
    learnt = censored & (units >= (2 if counts else 1e-9)) & (share >= LEAST_SHARE)
    safe = np.where(learnt, share, 1.0)
    sold = np.maximum(units * own - 1.0, 1.0) if counts else units
    seen, exposure = np.zeros(len(frame)), np.zeros(len(frame))
    if views is not None:
        classes = _labels(frame, ("category",))[learnt]
        seen[learnt], exposure[learnt] = views_as_purchases(sold[learnt], share[learnt], views[learnt], classes)
    spilled = units * (1.0 - own)
    wanted = np.maximum(stockout_estimate(sold + 1.0, safe, seen, exposure), units * own)
    demand = np.where(learnt, wanted + spilled, units)  # what was sold was wanted, if as a second choice
    # What came after the stock-out is negative binomial: a Poisson count whose rate was learnt from these purchases.
    within = safe + exposure
    rate = np.clip(within / (within + 1.0 - safe), 1e-6, 1.0 - 1e-9)
    tail = [nbinom.ppf(q, np.maximum(sold + seen, 1.0), rate) for q in (0.1, 0.9)]
    low, high = (np.where(learnt, units + t, units) for t in tail)
    method = np.where(learnt, np.where(exposure > 0, VIEWS, CURVE), np.where(censored, NOTHING, OBSERVED))
    table = frame[CELL].assign(
        units=units, demand=demand, demand_p10=np.minimum(low, demand), demand_p90=np.maximum(high, demand),
        method=method, is_censored=censored, spilled_units=spilled,
    )  # fmt: skip
    return table[OUTPUT]
