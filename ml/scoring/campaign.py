"""One sale against its synthetic control: effects of every cell, and the placebo distribution they are read by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.scoring.panel import Panel
from ml.scoring.synthetic import fit, placebo_fit

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

PRE_DAYS = 42  # days before the sale that weights are fitted on
WAIT_DAYS = 3  # days before the start in which customers already wait
POST_DAYS = 7  # days after the end in which sales pulled forward are missing
LEAST_PRE, LEAST_DONORS = 7, 5
LEAST_MEAN = 0.05  # units a day: a series below this has no past to be compared by
MOST_DONORS = 80


@dataclass(frozen=True)
class Window:
    """Day positions of one sale, as masks over the panel's days."""

    before: Bools
    during: Bools
    around: Bools  # waiting days before, and days after the end


@dataclass(frozen=True)
class CellEffects:
    """Effects of a sale's cells in units, rows in the order they were asked for.

    `counterfactual` and `effect` cover the days the sale touches, `shift` the days around it. `scale` turns a
    placebo (a multiple of a series' fit error) into units of the cell; `placebos` and `placebo_keys` are the donors'.
    `scored` is False where the past or the donors do not suffice; the counterfactual is then the recent mean.
    """

    counterfactual: Floats
    effect: Floats
    shift: Floats
    scale: Floats
    error: Floats
    augmented: Bools
    scored: Bools
    placebos: Floats
    placebo_units: Floats
    placebo_keys: pd.MultiIndex


def window_of(panel: Panel, starts_at: pd.Timestamp, ends_at: pd.Timestamp) -> Window:
    """Days of a sale: those it touches, the fitted ones before, those around it; all within the panel."""
    days = panel.days
    first = starts_at.tz_convert("UTC").tz_localize(None).normalize()
    last = (ends_at.tz_convert("UTC").tz_localize(None) - pd.Timedelta(microseconds=1)).normalize()
    day = pd.Timedelta(days=1)
    fitted_to = first - WAIT_DAYS * day
    before = (days < fitted_to) & (days >= fitted_to - PRE_DAYS * day)
    waiting = (days >= fitted_to) & (days < first)
    after = (days > last) & (days <= last + POST_DAYS * day)
    return Window(np.asarray(before), np.asarray((days >= first) & (days <= last)), np.asarray(waiting | after))


def donor_rows(panel: Panel, window: Window, offers: pd.DataFrame, warehouses: dict[str, str]) -> npt.NDArray[np.int64]:
    """Series that may serve as donors of a sale.

    A donor is in no sale on the sale's days, has a past, and is not contaminated: a region fed by the same warehouse
    as a region of the sale loses stock to it, so the sale's own SKUs there are left out.
    """
    free = ~panel.on_sale[:, window.during].any(axis=1) & panel.alive[:, window.before | window.during].all(axis=1)
    means = panel.usual[:, window.before].mean(axis=1) if window.before.any() else np.zeros(len(panel.keys))
    free &= means >= LEAST_MEAN
    pools = {warehouses.get(r, r) for r in offers["region_id"]}
    skus = set(offers["sku_id"])
    shared = [sku in skus and warehouses.get(region, region) in pools for sku, region in panel.keys]
    rows = np.flatnonzero(free & ~np.array(shared, dtype=bool))
    return np.asarray(np.sort(rows[np.argsort(-means[rows], kind="stable")][:MOST_DONORS]), dtype=np.int64)


def cell_effects(panel: Panel, offers: pd.DataFrame, window: Window, warehouses: dict[str, str]) -> CellEffects:
    """Score the cells of one sale.

    Args:
        panel: daily sales.
        offers: the sale's cells: `sku_id`, `region_id`.
        window: from `window_of`.
        warehouses: warehouse of each region.
    """
    rows = panel.keys.get_indexer(pd.MultiIndex.from_frame(offers[["sku_id", "region_id"]]))
    donors = donor_rows(panel, window, offers, warehouses)
    known, safe = rows >= 0, np.maximum(rows, 0)
    past = panel.usual[safe][:, window.before]
    means = np.where(known, past.mean(axis=1), 0.0) if window.before.any() else np.zeros(len(rows))
    full = known & panel.alive[safe][:, window.before].all(axis=1)
    scored = full & (means >= LEAST_MEAN) & (window.before.sum() >= LEAST_PRE) & (len(donors) >= LEAST_DONORS)
    result = _unscored(panel, rows, window, means)
    if not scored.any():
        return result
    return _fill_scored(panel, rows, donors, scored, window, means, result)


def _unscored(panel: Panel, rows: npt.NDArray[np.int64], window: Window, means: Floats) -> CellEffects:
    """Counterfactual of the recent mean, for cells without a control."""
    n, days = len(rows), int(window.during.sum())
    actual = np.where(rows >= 0, panel.units[np.maximum(rows, 0)][:, window.during].sum(axis=1), 0.0)
    nan = np.full(n, np.nan)
    none = np.zeros(n, dtype=bool)
    return CellEffects(
        means * days, actual - means * days, np.zeros(n), nan, nan.copy(), none, none.copy(), np.zeros(0), np.zeros(0),
        panel.keys[:0],
    )  # fmt: skip


def _fill_scored(
    panel: Panel, rows: npt.NDArray[np.int64], donors: npt.NDArray[np.int64], scored: Bools, window: Window,
    means: Floats, result: CellEffects,
) -> CellEffects:  # fmt: skip
    mine = rows[scored]
    donor_means = panel.usual[donors][:, window.before].mean(axis=1)
    indexed = panel.usual[donors] / donor_means[:, None]
    treated = panel.usual[mine] / means[scored][:, None]
    control = fit(treated, indexed, window.before, np.ones((len(mine), len(donors)), dtype=bool))
    placebo = placebo_fit(indexed, window.before)
    length = np.sqrt(window.during.sum())
    actual = panel.units[mine][:, window.during].sum(axis=1)
    expected = np.maximum(control.expected, 0.0)
    counterfactual = expected[:, window.during].sum(axis=1) * means[scored]
    around = np.where(
        panel.on_sale[mine][:, window.around], 0.0, treated[:, window.around] - expected[:, window.around]
    )
    error, placebo_error = _steady(control.error), _steady(placebo.error)
    left = (indexed - placebo.expected)[:, window.during].sum(axis=1)
    for field, values in (
        (result.counterfactual, counterfactual),
        (result.effect, actual - counterfactual),
        (result.shift, around.sum(axis=1) * means[scored]),
        (result.scale, error * means[scored] * length),
        (result.error, error),
        (result.augmented, control.augmented),
        (result.scored, np.ones(len(mine), dtype=bool)),
    ):
        field[scored] = values
    return CellEffects(
        result.counterfactual, result.effect, result.shift, result.scale, result.error, result.augmented, result.scored,
        left / (placebo_error * length), left * donor_means, panel.keys[donors],
    )  # fmt: skip


def _steady(error: Floats) -> Floats:
    """Fit errors, none so small that a lucky past makes any effect look large."""
    return np.asarray(np.maximum(error, 0.25 * float(np.median(error))), dtype=np.float64)
