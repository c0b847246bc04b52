"""Demand that stock-outs hid: the curve method (after Ferreira, Lee, Simchi-Levi 2016), pooled.

A class of offers shares the shape of its demand over the hours of a sale. Shapes are learnt by maximum
likelihood of N_ch ~ Poisson(mu_c w_h e_ch), where e_ch is the share of hour h in which cell c had stock, so
that sold-out cells teach their early hours too. A cell that sold C units until its stock-out at tau wanted

    (C - 1) / F(tau),  C >= 2,    F(tau) = sum_h w_h e_ch

units: for Poisson arrivals C / F(tau) is too large by C / (C - 1), since tau is the time of the C-th arrival.
Cells that did not sell out are left as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]

CELL = ["campaign_id", "sku_id", "region_id"]
LEVELS: tuple[tuple[str, ...], ...] = (
    (),
    ("start_hour",),
    ("start_hour", "category"),
    ("start_hour", "category", "promo_type"),
)
PRIOR_UNITS = 60.0  # units of the wider class that a narrower class starts with
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


def learn_curve(
    units: Floats, exposure: Floats, sold_out: npt.NDArray[np.bool_], parent: Floats, rounds: int = 30
) -> Floats:
    """Share of demand in each hour, shape (hours,), sums to 1: alternating maximum likelihood.

    Args:
        units: units sold, shape (cells, hours).
        exposure: share of each hour with stock, shape (cells, hours), 0 to 1.
        sold_out: whether a cell sold out, shape (cells,).
        parent: the wider class's curve, which counts like `PRIOR_UNITS` units.
        rounds: alternations; the likelihood is concave in each part and settles fast.
    """
    # Given its moment, the unit that ended the stock says nothing of the shape: the others are spread by it.
    kept = np.maximum(units - _last_unit(exposure, sold_out), 0.0)
    seen = kept.sum(axis=1)
    curve = parent.copy()
    for _ in range(rounds):
        mean = seen / np.maximum(exposure @ curve, 1e-9)
        curve = (kept.sum(axis=0) + PRIOR_UNITS * parent) / (mean @ exposure + PRIOR_UNITS)
        curve = curve / curve.sum()
    return np.asarray(curve, dtype=np.float64)


def _last_unit(exposure: Floats, sold_out: npt.NDArray[np.bool_]) -> Floats:
    """One unit in the hour of each cell's stock-out, shape (cells, hours)."""
    ended = np.zeros_like(exposure)
    last = exposure.shape[1] - 1 - np.argmax(exposure[:, ::-1] > 0, axis=1)
    ended[np.arange(len(exposure)), last] = sold_out
    return ended


def pooled_curves(
    cells: pd.DataFrame, units: Floats, exposure: Floats, levels: Sequence[tuple[str, ...]] = LEVELS
) -> Floats:
    """Each cell's demand curve, learnt by class from wide to narrow, shape (cells, hours).

    Args:
        cells: one row a cell with the columns of `levels` and `is_sold_out`.
        units, exposure: shape (cells, hours); all cells last equally long.
        levels: class keys from the widest to the narrowest.
    """
    hours = units.shape[1]
    sold_out = cells["is_sold_out"].to_numpy(dtype=bool)
    curves = np.full((len(cells), hours), 1.0 / hours)
    for keys in levels:
        label = cells[list(keys)].astype(str).agg("|".join, axis=1) if keys else pd.Series("all", index=cells.index)
        for _, rows in label.reset_index(drop=True).groupby(label.to_numpy()):
            index = rows.index.to_numpy()
            curves[index] = learn_curve(units[index], exposure[index], sold_out[index], curves[index[0]])
    return curves


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
        cells_of = group.reset_index(drop=True)
        curves = pooled_curves(cells_of if counts else cells_of.assign(is_sold_out=False), units, exposure)
        share[index] = np.clip((curves * exposure).sum(axis=1), 0.0, 1.0)
    return _estimates(frame, share, counts)


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
