"""Demand that stock-outs hid: the curve method (after Ferreira, Lee, Simchi-Levi 2016), pooled.

A class of offers shares the shape w of its demand over the hours of a sale (`ml.demand.curves`). A cell that had stock
in a share e_h of hour h and sold C units until its stock-out at tau wanted

    (C - 1) / F(tau),  C >= 2,    F(tau) = sum_h w_h e_h

units: for Poisson arrivals C / F(tau) is too large by C / (C - 1), since tau is the time of the C-th arrival.
Cells that did not sell out are left as they are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.demand.curves import pooled_curves

Floats = npt.NDArray[np.float64]

CELL = ["campaign_id", "sku_id", "region_id"]
LEVELS: tuple[tuple[str, ...], ...] = (
    (),
    ("start_hour",),
    ("start_hour", "category"),
    ("start_hour", "category", "promo_type"),
)
LEAST_SHARE = 0.02  # a stock-out before this share of demand says next to nothing about the rest
OBSERVED, CURVE, NOTHING = "observed", "curve", "nothing_learnt"
OUTPUT = [*CELL, "units", "demand", "demand_p10", "demand_p90", "method", "is_censored"]


def stockout_estimate(units: Floats | float, share: Floats | float) -> Floats:
    """(C - 1) / F: mean demand of Poisson arrivals when the C-th used up the stock at demand share F.

    Args:
        units: C, units sold until the stock-out, at least 2.
        share: F in (0, 1], expected share of the sale's demand until then.
    """
    return np.asarray((np.asarray(units, dtype=np.float64) - 1.0) / np.asarray(share), dtype=np.float64)


def unconstrain(cells: pd.DataFrame, hours: pd.DataFrame, *, counts: bool = True) -> pd.DataFrame:
    """Demand of every cell as it would have been with stock to the end.

    Args:
        cells: one row per campaign x SKU x region: `campaign_id`, `sku_id`, `region_id`, `units_sold`,
            `is_sold_out`, `starts_at`, `duration_hours`, `category`, `promo_type`.
        hours: one row per cell and hour of the sale: the cell's key, `event_hour` (0-based), `units`,
            `in_stock_share` (0 to 1).
        counts: units are whole and the stock-out came with the last unit sold. Otherwise (scaled units, hours
            out of stock for other reasons) C / F is the estimate and no unit is taken off.

    Returns:
        One row a cell in the order of `cells`: key, `units`, `demand` (units), `demand_p10`, `demand_p90`,
        `method` (`observed`, `curve`, `nothing_learnt`), `is_censored`. Where nothing can be learnt (one unit
        or none sold, or sold out almost at once) demand is the units sold, a lower bound, and the method says so.
    """
    frame = cells.reset_index(drop=True).copy()
    frame["start_hour"] = pd.to_datetime(frame["starts_at"], utc=True).dt.hour
    share = np.ones(len(frame))
    for _, group in frame.groupby("duration_hours", sort=True):
        index = group.index.to_numpy()
        units, exposure = _matrices(group, hours, round(float(group["duration_hours"].iloc[0])))
        ended = group["is_sold_out"].to_numpy(dtype=bool) & counts
        curves = pooled_curves(units, exposure, ended, [_labels(group, keys) for keys in LEVELS])
        share[index] = np.clip((curves * exposure).sum(axis=1), 0.0, 1.0)
    return _estimates(frame, share, counts)


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


def _estimates(frame: pd.DataFrame, share: Floats, counts: bool) -> pd.DataFrame:
    from scipy.stats import nbinom

    units = frame["units_sold"].to_numpy(dtype=np.float64)
    censored = frame["is_sold_out"].to_numpy(dtype=bool)
    learnt = censored & (units >= (2 if counts else 1e-9)) & (share >= LEAST_SHARE)
    safe = np.where(learnt, share, 1.0)
    mean = stockout_estimate(np.maximum(units, 2.0), safe) if counts else units / safe
    demand = np.where(learnt, np.maximum(mean, units), units)
    # What came after the stock-out is negative binomial: a Poisson count whose rate was learnt from C arrivals.
    tail = [nbinom.ppf(q, np.maximum(units - 1.0, 1.0), np.clip(safe, 1e-6, 1.0 - 1e-9)) for q in (0.1, 0.9)]
    low, high = (np.where(learnt, units + t, units) for t in tail)
    method = np.where(learnt, CURVE, np.where(censored, NOTHING, OBSERVED))
    table = frame[CELL].assign(
        units=units, demand=demand, demand_p10=np.minimum(low, demand), demand_p90=np.maximum(high, demand),
        method=method, is_censored=censored,
    )  # fmt: skip
    return table[OUTPUT]
