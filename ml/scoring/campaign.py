"""One sale: what its cells and the SKUs around it would have done without it, each by the method that suits it best."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.scoring.contest import HELD_DAYS, LEAST_PRE, SYNTHETIC, Choice, Past, choose
from ml.scoring.donors import CELL, Neighbours, donor_rows, neighbours
from ml.scoring.panel import Panel
from ml.scoring.synthetic import placebo_fit
from ml.scoring.uncertainty import ALPHA, Z, half_width, placebo_p, two_sided_p
from ml.scoring.window import Window, own_days, usual_length

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

RECENT, RIDGE = "recent_mean", "synthetic_control_ridge"
RARE = 0.5  # units that a series without any sale before is taken to have sold in all its days: it is not surely dead
DIP_DAYS, WAITING_DAYS = 4, 2  # days after and before an earlier sale that are no usual days
HALF_KNOWN = 0.5  # share of a sum's usual units that must come from days outside sales for the day to count


@dataclass(frozen=True)
class Effects:
    """Effects of a sale on some series in units, one entry a series.

    Attributes:
        counterfactual, effect: of the days the sale touches.
        shift: of the days around it.
        spread, whole_spread: standard deviation of the error of `effect`, and of `effect + shift`.
        p, half: chance of such an effect had there been none, and the smallest effect that would be told from none.
        free: degrees of freedom of `spread`.
        held: errors on the days before the sale that were held out, NaN where none, shape (series, days).
        error: their root mean square over the series' mean.
        method: how the counterfactual was made; `recent_mean` (no spread, no p) where there is too little history.
    """

    counterfactual: Floats
    effect: Floats
    shift: Floats
    spread: Floats
    whole_spread: Floats
    p: Floats
    half: Floats
    free: Floats
    held: Floats
    error: Floats
    method: npt.NDArray[np.str_]

    @property
    def scored(self) -> Bools:
        """Series with enough history."""
        return np.asarray(self.method != RECENT)


@dataclass(frozen=True)
class SaleEffects:
    """Effects on a sale's cells, in the order they were asked for, and on the SKUs around it; the number of donors."""

    cells: Effects
    around: Effects
    ties: list[Neighbours]
    donors: int


@dataclass(frozen=True)
class _Series:
    """Series to be scored on the days from the first learnt one on: units, usual units, which days count, on sale,
    near a sale."""

    units: Floats
    usual: Floats
    usable: Bools
    on_sale: Bools
    near_sale: Bools


def sale_effects(
    panel: Panel, offers: pd.DataFrame, window: Window, products: pd.DataFrame, warehouses: dict[str, str]
) -> SaleEffects:
    """Score the cells of one sale, and the SKUs of their brands and categories in its regions.

    Args:
        panel: daily sales.
        offers: the sale's cells: `sku_id`, `region_id`, `is_sold_out`, `starts_at`, `ends_at`.
        window: from `window_of`.
        products: `sku_id`, `brand`, `category`.
        warehouses: warehouse of each region.
    """
    rows = panel.keys.get_indexer(pd.MultiIndex.from_frame(offers[CELL]))
    ties = neighbours(panel, window, offers.reset_index(drop=True), products)
    donors = donor_rows(panel, window, offers, products, warehouses)
    local = np.flatnonzero(window.before | window.during | window.around)
    sums = [_one(panel, rows, local), *[_sum(panel, tie.rows, local) for tie in ties]]
    series = _Series(*(np.concatenate([getattr(s, f.name) for s in sums]) for f in fields(_Series)))
    n, others = len(rows), np.ones((len(ties), 1), dtype=bool)  # SKUs outside the sale are scored on all of its days
    days = [
        np.concatenate([own, others & whole])[:, local]
        for own, whole in zip(own_days(panel, offers), (window.during, window.around), strict=True)
    ]
    donated = panel.usual[donors][:, local]
    found = _effects(series, donated, np.asarray(panel.days.dayofweek)[local], window.before[local], *days)
    cells, around = (Effects(*(getattr(found, f.name)[s] for f in fields(Effects))) for s in (np.s_[:n], np.s_[n:]))
    return SaleEffects(cells, around, ties, len(donors))


def _one(panel: Panel, rows: Ints, local: Ints) -> _Series:
    """Single series; a row of -1 is one that never had a day."""
    known, safe = (rows >= 0)[:, None], np.maximum(rows, 0)[:, None]
    on_sale = panel.on_sale[safe, local] & known
    units, usual = (np.where(known, x[safe, local], 0.0) for x in (panel.units, panel.usual))
    near = _near_sale(panel.on_sale[np.maximum(rows, 0)])[:, local]
    return _Series(units, usual, panel.alive[safe, local] & known & ~on_sale, on_sale, near)


def _near_sale(on_sale: Bools) -> Bools:
    """Days on which customers wait for a sale, or in which its sales are still missing."""
    near = np.zeros_like(on_sale)
    for k in range(1, DIP_DAYS + 1):
        near[:, k:] |= on_sale[:, :-k]
    for k in range(1, WAITING_DAYS + 1):
        near[:, :-k] |= on_sale[:, k:]
    return near


def _sum(panel: Panel, rows: Ints, local: Ints) -> _Series:
    """Several series as one: their effects add up, and together they are told from noise sooner."""
    one = _one(panel, rows, local)
    usual = one.usual.sum(axis=0, keepdims=True)
    known = np.where(one.usable, one.usual, 0.0).sum(axis=0, keepdims=True)
    plain = np.where(one.on_sale, one.usual, one.units).sum(axis=0, keepdims=True)
    usable = (known >= HALF_KNOWN * usual) & one.usable.any(axis=0, keepdims=True)
    return _Series(plain, usual, usable, np.zeros_like(usable), np.zeros_like(usable))


def _effects(series: _Series, donors: Floats, weekday: Ints, before: Bools, during: Bools, around: Bools) -> Effects:
    """Effects on the series; `before` of shape (days,) is their first part, `during` and `around` (series, days)."""
    split = int(before.sum())
    during, around = during[:, split:], around[:, split:]
    counted = _counted(series, split)
    scored = counted.sum(axis=1) >= LEAST_PRE
    result = _recent(series, split, during)
    if not scored.any():
        return result
    level = donors[:, :split].mean(axis=1, keepdims=True)
    whole = np.asarray((series.usable | series.on_sale)[scored, :split].all(axis=1))
    past = Past(series.usual[scored, :split], counted[scored], whole, donors / level, weekday)
    choice = choose(past, usual_length(during))
    ahead = [x[scored] for x in (series.units[:, split:], series.on_sale[:, split:], during, around)]
    found = _scored(past, choice, *ahead)
    for field in fields(Effects):
        getattr(result, field.name)[scored] = getattr(found, field.name)
    return result


def _counted(series: _Series, split: int) -> Bools:
    """Days before the sale that count: none near an earlier sale, unless too few are left then.

    The dip after one sale, taken for the usual level, would hide that of the next.
    """
    usable = series.usable[:, :split]
    quiet = usable & ~series.near_sale[:, :split]
    return np.asarray(np.where(quiet.sum(axis=1, keepdims=True) >= LEAST_PRE, quiet, usable))


def _recent(series: _Series, split: int, during: Bools) -> Effects:
    """Counterfactual of the recent mean, for series with too little history: rough, with no spread and no p."""
    n, counted = len(series.units), series.usable[:, :split]
    mean = np.where(counted, series.usual[:, :split], 0.0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    expected = mean * during.sum(axis=1)
    effect = np.where(during, series.units[:, split:], 0.0).sum(axis=1) - expected
    spread, whole, p, half, free, error = np.full((6, n), np.nan)
    held = np.full((n, HELD_DAYS), np.nan)
    method = np.full(n, RECENT, dtype="<U32")
    return Effects(expected, effect, np.zeros(n), spread, whole, p, half, free, held, error, method)


def _scored(past: Past, choice: Choice, units: Floats, on_sale: Bools, during: Bools, around: Bools) -> Effects:
    """Effects of the days ahead of `past`; all but the first two have shape (series, days ahead)."""
    off = np.where(on_sale | ~around, 0.0, units - choice.forecast.mean)  # a later sale's days are that sale's
    expected, sold = (np.where(during, x, 0.0).sum(axis=1) for x in (choice.forecast.mean, units))
    effect = sold - expected
    days = [during, during | (around & ~on_sale)]
    free = past.usable.sum(axis=1) - 2.0
    spread, whole = (_spread(past, choice, d) for d in days)
    p, half = two_sided_p(effect, expected, spread, free), half_width(expected, spread, free)
    method = choice.method.astype("<U32")
    control = np.flatnonzero(choice.method == SYNTHETIC)
    if len(control):
        errors, scale = _placebo_errors(past), _steady(choice.fit_error) * past.units.mean(axis=1)
        nulls = [(errors @ d.T.astype(np.float64) * scale)[:, control] for d in days]
        p[control] = [placebo_p(e, null) for e, null in zip(effect[control], nulls[0].T, strict=True)]
        half[control], wide = (np.quantile(np.abs(null), 1.0 - ALPHA, axis=0) for null in nulls)
        spread[control], whole[control] = half[control] / Z, wide / Z
        method[control[choice.augmented[control]]] = RIDGE
    return Effects(expected, effect, off.sum(axis=1), spread, whole, p, half, free, choice.held, choice.error, method)


def _spread(past: Past, choice: Choice, days: Bools) -> Floats:
    """Standard deviation of the error over some days, no smaller than a count's own noise; `days` as `units` above."""
    expected = np.where(days, choice.forecast.mean, 0.0).sum(axis=1)
    rare = RARE * days.sum(axis=1) / past.usable.sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(choice.forecast.spread(days) ** 2, np.maximum(expected, rare))))


def _placebo_errors(past: Past) -> Floats:
    """Errors of every donor scored as if treated, each over its own fit error, shape (donors, days ahead)."""
    split = past.units.shape[1]
    fitted = placebo_fit(past.donors, np.arange(past.donors.shape[1]) < split)
    return np.asarray((past.donors - fitted.expected)[:, split:] / _steady(fitted.error)[:, None])


def _steady(error: Floats) -> Floats:
    """Fit errors, none so small that a lucky past makes any effect look large."""
    return np.asarray(np.maximum(error, 0.25 * float(np.median(error))), dtype=np.float64)
