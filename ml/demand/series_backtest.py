"""Rolling-origin backtest of any weekly or daily panel: `horizon` periods ahead, over the last `holdout` periods.

A period is forecast from sales up to `horizon` periods before it, by models trained on rows whose sales were known by
then; they are fitted anew a few times on the way. As many periods before the hold-out (at least three horizons) are
forecast in the same way: they calibrate. Fits cost, calibrations do not: each period has its own, from the errors that
were known `horizon` periods before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from flashsale.errors import InputError
from ml.demand import linear
from ml.demand.series_features import Design, build_design, lagged
from ml.demand.series_model import calibrate, fit_predict
from ml.demand.series_panel import Bools, Ints, Panel

FITS = 2  # fits over the hold-out, and as many over the periods before it
LEAST_PAST = 8  # periods of training before the first fit
MODELS = ("model", "linear", "seasonal_naive", "naive")


@dataclass(frozen=True)
class Cells:
    """Cells of a panel with a record, in order of period and series; each of shape (cells,)."""

    series: Ints
    period: Ints

    def where(self, keep: Bools) -> Cells:
        """Those that `keep` names."""
        return Cells(self.series[keep], self.period[keep])


def cells_of(panel: Panel) -> Cells:
    """All cells with a record."""
    period, series = np.nonzero(panel.there.T)
    return Cells(series.astype(np.int64), period.astype(np.int64))


def blocks(periods: int, horizon: int, holdout: int) -> tuple[list[tuple[int, int]], int]:
    """First and last+1 period of each fit's forecasts, and where the hold-out begins.

    Raises:
        InputError: where the horizon or the hold-out is no positive number, or the panel too short for them.
    """
    for field, value in (("horizon", horizon), ("holdout", holdout)):
        if value < 1:
            raise InputError("backtest", f"{field} is {value}", "give at least 1 period", field=field)
    begins = periods - holdout
    least = horizon + LEAST_PAST
    if begins - horizon < least:
        raise InputError(
            "panel",
            f"{periods} periods are too few for a horizon of {horizon} and a hold-out of {holdout}",
            f"give at least {holdout + 2 * horizon + LEAST_PAST} periods, or a shorter hold-out",
            field="period_start",
        )
    before = max(begins - max(holdout, 3 * horizon), least)  # calibration needs errors older than the horizon
    cuts = [
        *np.linspace(before, begins, FITS + 1).astype(int)[:-1],
        *np.linspace(begins, periods, FITS + 1).astype(int),
    ]
    cuts = sorted(set(cuts))
    return [(int(a), int(b)) for a, b in pairwise(cuts)], begins


def backtest(panel: Panel, horizon: int, holdout: int, seed: int) -> pd.DataFrame:
    """Forecasts of the hold-out: one row a series and period.

    Returns:
        `series_id`, `period_start`, `units`, `promotion`, the model's `mean`, `p10`, `p50`, `p90`, and `linear`,
        `seasonal_naive`, `naive`.
    """
    design, cells = build_design(panel, horizon), cells_of(panel)
    known = np.isfinite(design.base[cells.series, cells.period])
    parts, begins = blocks(len(panel.periods), horizon, holdout)
    raw: list[pd.DataFrame] = []
    seen: list[Cells] = []
    simple: list[pd.DataFrame] = []
    for first, end in parts:
        train = known & (cells.period <= first - horizon)
        test = (cells.period >= first) & (cells.period < end)
        if not test.any():
            continue
        if train.sum() < LEAST_PAST:
            raise InputError("panel", "too few records before the hold-out", "give a longer history", field="units")
        past, ahead = cells.where(train), cells.where(test)
        raw.append(_heads(panel, design, past, ahead, seed))
        seen.append(ahead)
        if first >= begins:
            simple.append(_simple(panel, design, past, ahead, horizon))
    if not simple:
        raise InputError("panel", "no series has a record in the hold-out", "give later records", field="period_start")
    ahead = Cells(*(np.concatenate([getattr(c, name) for c in seen]) for name in ("series", "period")))
    found = _calibrated(panel, design, ahead, pd.concat(raw, ignore_index=True), begins, horizon)
    ahead = ahead.where(ahead.period >= begins)
    head = pd.DataFrame(
        {
            "series_id": panel.series[ahead.series],
            "period_start": panel.periods[ahead.period],
            "units": panel.units[ahead.series, ahead.period],
            "promotion": design.promo[ahead.series, ahead.period],
        }
    )
    return pd.concat([head, found, pd.concat(simple, ignore_index=True)], axis=1)


def _heads(panel: Panel, design: Design, past: Cells, ahead: Cells, seed: int) -> pd.DataFrame:
    """Every head's forecasts of `ahead`, and the base they stand on."""
    usual = float(np.nanmean(panel.units[past.series, past.period]))
    base = design.base[ahead.series, ahead.period]
    base = np.where(np.isfinite(base), base, max(usual, 1e-3))  # a series without any past stands at the panel's mean
    guess = fit_predict(
        design.rows(past.series, past.period),
        panel.units[past.series, past.period],
        design.base[past.series, past.period],
        design.rows(ahead.series, ahead.period),
        base,
        design.codes,
        seed,
    )
    return guess.assign(base=base)


def _calibrated(
    panel: Panel, design: Design, cells: Cells, raw: pd.DataFrame, begins: int, horizon: int
) -> pd.DataFrame:
    """Calibrated forecasts of the hold-out's cells, each period by the errors known `horizon` periods before it.

    Args:
        cells, raw: cells in order of period, with the heads' forecasts of them.
        begins: the hold-out's first period.
    """
    units, promo = panel.units[cells.series, cells.period], design.promo[cells.series, cells.period]
    base, block = raw["base"].to_numpy(), cells.period // horizon
    out = []
    for period in np.unique(cells.period[cells.period >= begins]):
        end, first, last = np.searchsorted(cells.period, [period - horizon + 1, period, period + 1])
        learnt = calibrate(raw.iloc[:end], units[:end], base[:end], promo[:end], block[:end], whole=panel.whole)
        out.append(learnt.apply(raw.iloc[first:last], base[first:last], promo[first:last]))
    return pd.concat(out, ignore_index=True)


def _simple(panel: Panel, design: Design, past: Cells, ahead: Cells, horizon: int) -> pd.DataFrame:
    """The readable linear model and the naive ones; the panel's mean stands in where there is no past."""
    usual = float(np.nanmean(panel.units[past.series, past.period]))
    last = lagged(pd.DataFrame(panel.units.T).ffill().to_numpy().T, horizon)
    turns = -(-horizon // panel.season) * panel.season
    season = lagged(panel.units, turns)
    season = np.where(np.isfinite(season), season, last)
    fitted = linear.train(_linear_rows(panel, design, past, usual), panel.units[past.series, past.period])
    return pd.DataFrame(
        {
            "linear": fitted.predict(_linear_rows(panel, design, ahead, usual)),
            "seasonal_naive": np.nan_to_num(season[ahead.series, ahead.period], nan=usual),
            "naive": np.nan_to_num(last[ahead.series, ahead.period], nan=usual),
        }
    )


def _linear_rows(panel: Panel, design: Design, cells: Cells, usual: float) -> pd.DataFrame:
    """The seed article's inputs as a panel has them: the base level for the stock, the season for the start hour."""
    base = design.base[cells.series, cells.period]
    names = np.array(panel.promo_names, dtype=object)[panel.promo[cells.series, cells.period]]
    plain = (names == panel.promo_names[0]) & design.promo[cells.series, cells.period]
    moment = design.columns["week_of_year" if panel.weekly else "weekday"]
    return pd.DataFrame(
        {
            "allocated_units": np.where(np.isfinite(base), base, usual),
            "offer_price": panel.price[cells.series, cells.period],
            "start_hour": moment[cells.series, cells.period],
            "promo_type": np.where(plain, linear.PROMO_TYPES[0], names),
        }
    )
