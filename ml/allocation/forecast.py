"""Demand of every lawful action as correlated scenarios.

The level head is asked once per promotion and start slot, the response head moves its answer to each price. Rivals
stand at the middle of their ladders, the reference that `ml.allocation.joint` moves them away from. Scenario shocks
are shared: part by the whole sale, part by a SKU's regions, the rest by the cell alone, in the shares the model's
errors showed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtri

from ml.allocation.problem import Action
from ml.demand import features as ft
from ml.demand.heads import LevelHeads

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

Z90 = 1.2815515655446004  # standard normal quantile at 0.9
WORST_ERROR = 1.5  # of a backtest, over demand: beyond, a lognormal has next to all of its mean in its tail
WIDEST = 3.5  # standard deviations a shock may go: beyond, the fitted quantiles say nothing


@dataclass(frozen=True)
class ActionDemand:
    """Log quantiles p10, p50, p90 of units + 0.5 for one SKU, shape (actions, regions, 3)."""

    sku_id: str
    log_quantiles: Floats


def action_demand(
    heads: LevelHeads, rows: pd.DataFrame, history: pd.DataFrame, actions: dict[str, list[Action]], regions: list[str]
) -> list[ActionDemand]:
    """Demand quantiles of every SKU, action and region.

    Args:
        heads: the fitted model.
        rows: `feat_demand` rows of the request, one a SKU and region.
        history: past cells with `lift` (see `features.past_lifts`).
        actions: lawful actions by SKU.
        regions: order of the regions.
    """
    asked = rows[rows["sku_id"].isin(list(actions)) & rows["region_id"].isin(regions)].copy()
    asked["offer_price"] = [actions[sku][reference_action(actions[sku])].price for sku in asked["sku_id"]]
    levels = _levels(heads, asked, history, actions)
    listed = asked.groupby("sku_id")["list_price"].first()
    category = asked.groupby("sku_id")["category"].first()
    found = []
    for sku, own in actions.items():
        ratio = np.log(np.array([a.price for a in own]) / float(listed[sku]))
        effect = heads.log_effect(np.array([category[sku]] * len(own)), ratio)
        level = np.stack([levels[a.promo_type, a.starts_at].loc[[(sku, r) for r in regions]].to_numpy() for a in own])
        found.append(ActionDemand(sku, np.asarray(level + effect[:, None, None], dtype=np.float64)))
    return found


def reference_action(actions: list[Action]) -> int:
    """Index of a SKU's action while its rivals' demand is forecast: the first listed at the middle price."""
    prices = sorted({action.price for action in actions})
    return next(i for i, action in enumerate(actions) if action.price == prices[len(prices) // 2])


def _levels(
    heads: LevelHeads, asked: pd.DataFrame, history: pd.DataFrame, actions: dict[str, list[Action]]
) -> dict[tuple[str, object], pd.DataFrame]:
    """Log quantiles of units at list price by promotion and start, indexed by SKU and region."""
    base = ft.base_units(asked, history)
    index = pd.MultiIndex.from_frame(asked[["sku_id", "region_id"]])
    out: dict[tuple[str, object], pd.DataFrame] = {}
    for promo, slot in sorted({(a.promo_type, a.starts_at) for own in actions.values() for a in own}):
        start = pd.Timestamp(slot)
        rows = asked.assign(promo_type=promo, start_hour=start.hour, start_weekday=start.isoweekday())
        level = heads.level(ft.design(rows, history, base)) + np.log(base)[:, None]
        out[promo, slot] = pd.DataFrame(level, index=index)
    return out


def moved(demand: list[ActionDemand], shift: list[Floats]) -> list[ActionDemand]:
    """The same with log demand shifted, by SKU an array of shape (actions, regions)."""
    return [
        ActionDemand(own.sku_id, own.log_quantiles + part[:, :, None]) for own, part in zip(demand, shift, strict=True)
    ]


def shocks(skus: int, regions: int, scenarios: int, correlation: dict[str, float], seed: int) -> Floats:
    """Standard normal shocks with shares common to the sale and to a SKU, shape (skus, regions, scenarios).

    Each shock takes one value from every n-th of its distribution (Latin hypercube, McKay, Beckman and Conover 1979):
    a plan made on 300 such scenarios lost no more by their being few than one made on 1,200 independent ones
    (docs/decisions.md).
    """
    rng = np.random.default_rng(seed)
    sale, sku = float(correlation.get("sale", 0.0)), float(correlation.get("sku", 0.0))
    cell = max(1.0 - sale - sku, 0.0)
    drawn = (
        np.sqrt(sale) * _stratified(rng, (1, 1, scenarios))
        + np.sqrt(sku) * _stratified(rng, (skus, 1, scenarios))
        + np.sqrt(cell) * _stratified(rng, (skus, regions, scenarios))
    )
    return np.asarray(np.clip(drawn, -WIDEST, WIDEST), dtype=np.float64)


def _stratified(rng: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
    """Independent standard normal variables of a shape, each with one value from every stratum along the last axis."""
    strata = rng.permuted(np.broadcast_to(np.arange(shape[-1], dtype=np.float64), shape), axis=-1)
    return np.asarray(ndtri((strata + rng.uniform(1e-9, 1.0, shape)) / shape[-1]), dtype=np.float64)


def scenarios(demand: list[ActionDemand], z: Floats) -> list[Ints]:
    """Whole units by SKU, each of shape (actions, regions, scenarios); actions share their shocks.

    Below the median a shock moves log demand by (p50 - p10) / 1.28 a unit, above it by (p90 - p50) / 1.28.
    """
    out = []
    for own, shock in zip(demand, z, strict=True):
        low, mid, high = (own.log_quantiles[:, :, k, None] for k in range(3))
        spread = np.where(shock[None] < 0, mid - low, high - mid) / Z90
        units = np.exp(mid + spread * shock[None]) - 0.5
        out.append(np.maximum(np.rint(units), 0.0).astype(np.int64))
    return out


def around_mean(demand: list[ActionDemand], z: Floats, bias: float, wape: float) -> list[Ints]:
    """Whole units around mean demand, shaped as by `scenarios`, for intervals that do not hold: they take no part.

    The mean is the median put right by what medians were off demand in the backtest (`bias`, a share of the sum). The
    scatter is lognormal with the mean absolute error that the backtest measured (`wape`, a share of demand too):
    E|X - 1| = 2 (2 Phi(s / 2) - 1) for a mean of 1. The mean alone as a certainty cost a seventh of the profit
    (docs/decisions.md): the best cells get all they could sell, and what does not come is left over there.
    """
    spread = 2.0 * float(ndtri(0.5 + min(wape, WORST_ERROR) / 4.0))
    means = (np.maximum(np.exp(own.log_quantiles[:, :, 1, None]) - 0.5, 0.0) / (1.0 + bias) for own in demand)
    drawn = (mean * np.exp(spread * shock[None] - spread**2 / 2.0) for mean, shock in zip(means, z, strict=True))
    return [np.rint(units).astype(np.int64) for units in drawn]
