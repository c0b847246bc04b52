"""Scores of a sale in units and money: by cell, by SKU, for the whole sale.

Two questions are kept apart. What did the sale bring (`incremental_sales`, revenue and margin on what was paid)?
And what could it have brought (`incremental_demand`, on demand without stock-outs)? A sale that sold out at once has
a small answer to the first and a large one to the second.

Net margin = incremental margin + margin of sales moved from the days around + margin of other SKUs' halo and
cannibalisation - returns - overstock. Verdict: `win` or `loss` where the net margin's bounds leave zero and the
placebo p is at most 0.05, else `inconclusive`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.scoring.campaign import CellEffects, cell_effects, window_of
from ml.scoring.panel import Panel
from ml.scoring.synthetic import placebo_p

Floats = npt.NDArray[np.float64]

ALPHA = 0.05
DRAWS = 400  # random placebo sales for sums over cells
OVERSTOCK_SHARE = 0.05  # of unit cost, for each unit left: handling and markdown, an assumption
RETURN_LOSS_SHARE = 0.3  # of unit cost, for each unit that came back: an assumption
METHOD_VERSION = "sc-1"


def score_campaign(
    panel: Panel, offers: pd.DataFrame, signals: pd.DataFrame, products: pd.DataFrame, warehouses: dict[str, str],
    seed: int,
) -> pd.DataFrame:  # fmt: skip
    """Score one sale.

    Args:
        panel: daily sales of all series.
        offers: the sale's rows of `fct_sale_performance` with `demand`, `demand_p10`, `demand_p90`.
        signals: `fct_text_signals`: `signal_date`, `sku_id`, `text_count`, `sentiment_mean`.
        products: `sku_id`, `brand`, `category`.
        warehouses: warehouse of each region.
        seed: of the random placebo sales.

    Returns:
        Rows of levels `cell`, `sku` and `campaign` in the columns of `CAMPAIGN_SCORES`, less hash and key.
    """
    offers = offers.sort_values(["sku_id", "region_id"], kind="stable").reset_index(drop=True)
    starts, ends = pd.Timestamp(offers["starts_at"].iloc[0]), pd.Timestamp(offers["ends_at"].iloc[0])
    window = window_of(panel, starts, ends)
    effects = cell_effects(panel, offers, window, warehouses)
    cells = _cells(panel, offers, effects, window.during)
    cells = cells.join(_spillover(offers, effects, products)).join(_sentiment(offers, signals, starts, ends))
    # An outside SKU's margin is taken to be that of the SKU of the sale it is tied to.
    cells["spill_margin"] = (cells["halo_units"] + cells["cannibalised_units"]) * cells["usual_margin"]
    placebo = _placebo_sums(offers, effects, seed)
    levels = [
        _finish(cells.assign(level="cell"), effects, placebo, [[i] for i in range(len(cells))]),
        _roll_up(cells, offers, effects, placebo, "sku"),
        _roll_up(cells, offers, effects, placebo, "campaign"),
    ]
    return pd.concat(levels, ignore_index=True)


def _cells(panel: Panel, offers: pd.DataFrame, effects: CellEffects, during: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Additive quantities of every cell."""
    rows = panel.keys.get_indexer(pd.MultiIndex.from_frame(offers[["sku_id", "region_id"]]))
    known = np.maximum(rows, 0)
    units = np.where(rows >= 0, panel.units[known][:, during].sum(axis=1), offers["units_sold"])
    revenue = np.where(rows >= 0, panel.revenue[known][:, during].sum(axis=1), offers["revenue"])
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


def _spillover(offers: pd.DataFrame, effects: CellEffects, products: pd.DataFrame) -> pd.DataFrame:
    """Effects on SKUs outside the sale, in its regions: halo (same brand), cannibalisation (same category).

    An outside SKU that shares both counts as halo, whichever way it went. Its effect is shared out evenly over the SKUs
    it is tied to, so that cells add up.
    """
    brand, category = (products.set_index("sku_id")[name] for name in ("brand", "category"))
    halo, rival = np.zeros(len(offers)), np.zeros(len(offers))
    for (sku, region), units in zip(effects.placebo_keys, effects.placebo_units, strict=True):
        here = (offers["region_id"] == region).to_numpy()
        if sku in set(offers["sku_id"]) or not here.any():
            continue
        same_kind = here & (offers["sku_id"].map(category) == category.get(sku)).to_numpy()
        same_brand = here & (offers["sku_id"].map(brand) == brand.get(sku)).to_numpy()
        target, mask = (halo, same_brand) if same_brand.any() else (rival, same_kind)
        if mask.any():
            target[mask] += units / mask.sum()
    return pd.DataFrame({"halo_units": halo, "cannibalised_units": rival}, index=offers.index)


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


def _placebo_sums(offers: pd.DataFrame, effects: CellEffects, seed: int) -> Floats:
    """Random placebo sales in units, shape (cells, draws).

    Each SKU of the sale takes the errors of one random donor SKU, region by region where the donor has that region:
    what moves together in the donors moves together in the sums.
    """
    draws = np.zeros((len(offers), DRAWS))
    if not len(effects.placebos):
        return draws
    rng = np.random.default_rng(seed)
    skus, regions = (effects.placebo_keys.get_level_values(k).to_numpy() for k in (0, 1))
    names = np.unique(skus)
    for sku in offers["sku_id"].unique():
        donor = names[rng.integers(0, len(names), DRAWS)]
        sign = rng.choice([-1.0, 1.0], DRAWS)
        for i in np.flatnonzero(offers["sku_id"] == sku):
            draws[i] = sign * _donor_errors(donor, str(offers["region_id"][i]), skus, regions, effects.placebos, rng)
    return draws * np.nan_to_num(effects.scale)[:, None]


def _donor_errors(
    donor: npt.NDArray[Any], region: str, skus: npt.NDArray[Any], regions: npt.NDArray[Any], placebos: Floats,
    rng: np.random.Generator,
) -> Floats:  # fmt: skip
    out = np.empty(len(donor))
    for name in np.unique(donor):
        own = np.flatnonzero(skus == name)
        exact = own[regions[own] == region]
        mine = donor == name
        out[mine] = placebos[exact[0]] if len(exact) else placebos[rng.choice(own, int(mine.sum()))]
    return out


def _roll_up(
    cells: pd.DataFrame, offers: pd.DataFrame, effects: CellEffects, placebo: Floats, level: str
) -> pd.DataFrame:
    """Sums over a SKU's regions, or over the whole sale."""
    keys = offers["sku_id"] if level == "sku" else pd.Series("", index=offers.index)
    groups = [list(index) for _, index in keys.groupby(keys, sort=True).groups.items()]
    rows = []
    for group in groups:
        part = cells.loc[group]
        row = part.select_dtypes("number").sum()
        for name in ("sentiment_before", "sentiment_during", "sentiment_after"):
            count = part[f"{name}_count"]
            row[name] = float((part[name].fillna(0.0) * count).sum() / count.sum()) if count.sum() else np.nan
        row["usual_margin"] = _mean_by_units(part, "usual_margin")
        row["list_price"] = _mean_by_units(part, "list_price")
        rows.append(row)
    frame = pd.DataFrame(rows).reset_index(drop=True)
    frame["level"] = level
    frame["sku_id"] = [cells.loc[group[0], "sku_id"] if level == "sku" else None for group in groups]
    frame["region_id"] = None
    return _finish(frame, effects, placebo, groups)


def _mean_by_units(part: pd.DataFrame, name: str) -> float:
    weight = np.maximum(part["counterfactual_units"].to_numpy(dtype=np.float64), 1e-9)
    return float((part[name].to_numpy(dtype=np.float64) * weight).sum() / weight.sum())


def _finish(frame: pd.DataFrame, effects: CellEffects, placebo: Floats, groups: list[list[int]]) -> pd.DataFrame:
    """Bounds, p values, net margin and verdict of rows that stand for groups of cells."""
    out = frame.copy()
    donors = len(effects.placebos)
    half, p = np.full(len(out), np.nan), np.full(len(out), np.nan)
    for k, group in enumerate(groups):
        if not effects.scored[group].all():
            continue
        effect = float(effects.effect[group].sum())
        single = len(group) == 1
        null = effects.placebos * effects.scale[group[0]] if single else placebo[group].sum(axis=0)
        half[k] = float(np.quantile(np.abs(null), 1.0 - ALPHA))
        p[k] = max(placebo_p(effect, null), 1.0 / (donors + 1))  # no sum of cells is surer than its donors allow
    out["placebo_p"], out["smallest_detectable_units"], out["donors"] = p, half, donors
    out["pre_fit_error"] = [float(np.nanmean(effects.error[g])) if effects.scored[g].any() else np.nan for g in groups]
    out["method"] = [_method(effects, group) for group in groups]
    _bounds(out, half)
    out["net_margin"] = out["incremental_margin"] + out["shift_margin"] + out["spill_margin"] - out["promotion_cost"]
    spent = out["discount_given"] + out["promotion_cost"]
    out["return_on_promotion"] = np.where(spent > 0, out["net_margin"] / spent.where(spent > 0, 1.0), np.nan)
    out["sell_through"] = out["units_sold"] / out["allocated_units"].where(out["allocated_units"] > 0)
    out["verdict"] = _verdict(out, half)
    return out


def _method(effects: CellEffects, group: list[int]) -> str:
    if not effects.scored[group].all():
        return "recent_mean"
    return "synthetic_control_ridge" if effects.augmented[group].any() else "synthetic_control"


def _bounds(out: pd.DataFrame, half: Floats) -> None:
    """Lower and upper bounds from the placebo distribution; demand adds what is unsure about lost units."""
    out["incremental_demand"] = out["incremental_sales"] + out["lost_units"]
    price: dict[str, Floats] = {
        "sales": np.ones(len(out)),
        "revenue": out["list_price"].to_numpy(dtype=np.float64),
        "margin": out["usual_margin"].clip(lower=0.0).to_numpy(dtype=np.float64),
    }
    for name, factor in price.items():
        out[f"incremental_{name}_lower"] = out[f"incremental_{name}"] - half * factor
        out[f"incremental_{name}_upper"] = out[f"incremental_{name}"] + half * factor
    out["incremental_demand_lower"] = out["incremental_sales"] - half + out["lost_low"]
    out["incremental_demand_upper"] = out["incremental_sales"] + half + out["lost_high"]


def _verdict(out: pd.DataFrame, half: Floats) -> list[str]:
    slack = half * out["usual_margin"].clip(lower=0.0)
    sure = (out["placebo_p"] <= ALPHA) & np.isfinite(half)
    win, loss = sure & (out["net_margin"] - slack > 0), sure & (out["net_margin"] + slack < 0)
    return [str(v) for v in np.where(win, "win", np.where(loss, "loss", "inconclusive"))]
