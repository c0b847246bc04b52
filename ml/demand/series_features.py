"""Features of a series' period that are known `horizon` periods before it.

Sales enter up to t - horizon; prices, promotions and further columns are plans and enter up to t itself. Every matrix
has shape (series, periods); nothing of a later period touches an earlier one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.demand.series_panel import Bools, Floats, Ints, Panel

DEEP_CUT = 0.05  # a price so far below the usual one is a promotion, named or not
USUAL_PERIODS = 26  # periods over which a price counts as usual
BASE_PERIODS = 13  # periods without promotion that the base level is a mean of
FLOOR = 0.25  # share of a series' mean that its base may not fall below


@dataclass(frozen=True)
class Design:
    """Features by name; `base` (units), `promo` (in promotion) and `codes` of categorical columns among them."""

    columns: dict[str, Floats]
    base: Floats
    promo: Bools
    categorical: list[str]

    def rows(self, series: Ints, period: Ints) -> npt.NDArray[np.float32]:
        """Features of some cells, shape (cells, features), in the order of `columns`."""
        out = np.empty((len(series), len(self.columns)), dtype=np.float32)
        for k, values in enumerate(self.columns.values()):
            out[:, k] = values[series, period]
        return out

    @property
    def codes(self) -> list[int]:
        """Positions of the categorical columns."""
        return [k for k, name in enumerate(self.columns) if name in self.categorical]


def lagged(values: Floats, periods: int) -> Floats:
    """Values of `periods` earlier; NaN at the beginning."""
    out = np.full_like(values, np.nan)
    if periods < values.shape[1]:
        out[:, periods:] = values[:, : values.shape[1] - periods]
    return out


def trailing_mean(values: Floats, window: int) -> Floats:
    """Mean of what is known of the last `window` periods up to and with each; NaN where nothing is."""
    known = np.isfinite(values)
    total, count = (np.cumsum(np.where(known, part, 0.0), axis=1) for part in (values, np.ones_like(values)))
    total, count = total - _before(total, window), count - _before(count, window)
    return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)


def _before(sums: Floats, window: int) -> Floats:
    out = np.zeros_like(sums)
    if window < sums.shape[1]:
        out[:, window:] = sums[:, : sums.shape[1] - window]
    return out


def _last_known(values: Floats) -> Floats:
    """The newest known value up to each period."""
    return np.asarray(pd.DataFrame(values.T).ffill().to_numpy().T, dtype=np.float64)


def usual_price(panel: Panel) -> Floats:
    """List price where given, else an upper quantile of the last half year's prices up to the period before."""
    rolled = pd.DataFrame(panel.price.T).rolling(USUAL_PERIODS, min_periods=1).quantile(0.75).shift(1).to_numpy().T
    own = np.where(np.isfinite(rolled), rolled, panel.price)
    return np.where(np.isfinite(panel.list_price), panel.list_price, own)


def build_design(panel: Panel, horizon: int) -> Design:
    """All features of a panel.

    Args:
        panel: the panel.
        horizon: periods between the newest sales that count and the period that is forecast.
    """
    usual = usual_price(panel)
    discount = 1.0 - panel.price / usual
    promo: Bools = (panel.promo > 0) | (discount >= DEEP_CUT)
    units = np.where(panel.there, panel.units, np.nan)
    base = lagged(base_level(units, promo), horizon)
    out: dict[str, Floats] = {}
    log_base = np.log(base)
    out["log_base"] = log_base
    out.update(_sales(units, base, promo, horizon, panel.season))
    out.update(_prices(panel, usual, discount))
    out.update(_promotion(panel, units, base, promo, discount, horizon))
    out.update(_calendar(panel))
    for name, values in panel.extra.items():
        out[f"given_{name}"] = values
        out.update(_among(panel, name, values, discount, units, base, horizon))
    out["promo_type"] = panel.promo.astype(np.float64)
    return Design(out, base, promo, ["promo_type"])


def base_level(units: Floats, promo: Bools) -> Floats:
    """Mean units of the last periods without promotion, up to and with each period; never near zero."""
    plain = np.where(promo, np.nan, units)
    calm, every = _last_known(trailing_mean(plain, BASE_PERIODS)), _last_known(trailing_mean(units, BASE_PERIODS))
    long = _last_known(trailing_mean(units, units.shape[1]))
    level = np.where(np.isfinite(calm), calm, every)
    return np.maximum(level, np.maximum(FLOOR * long, 1e-3))


def _sales(units: Floats, base: Floats, promo: Bools, horizon: int, season: int) -> dict[str, Floats]:
    """Lags and trailing means of units over the base, in logs."""

    def over(values: Floats) -> Floats:
        return np.log((values + 0.1 * base) / (1.1 * base))

    out = {f"lag_{k}": over(lagged(units, horizon + k)) for k in range(4)}
    for back in dict.fromkeys((season, 52 if season == 52 else 28)):
        turns = -(-horizon // back) * back
        out[f"season_{back}"] = over(lagged(units, turns))
        out[f"season_promo_{back}"] = lagged(promo.astype(np.float64), turns)
        out[f"season_mean_{back}"] = over(lagged(trailing_mean(units, 3), max(turns - 1, horizon)))
    for window in (4, 8, 26, 52):
        out[f"mean_{window}"] = over(lagged(trailing_mean(units, window), horizon))
    square, mean = (lagged(trailing_mean(v, 13), horizon) for v in (units**2, units))
    out["spread_13"] = np.sqrt(np.maximum(square - mean**2, 0.0)) / base
    out["shop_mean_4"] = np.broadcast_to(np.nanmedian(_filled(out["mean_4"]), axis=0), units.shape).copy()
    out["shop_lag_0"] = np.broadcast_to(np.nanmedian(_filled(out["lag_0"]), axis=0), units.shape).copy()
    return out


def _filled(values: Floats) -> Floats:
    """Values with a zero in columns that hold none, so that a median of nothing is no warning."""
    empty = np.isfinite(values).sum(axis=0) == 0
    return np.where(empty[None, :], 0.0, values)


def _prices(panel: Panel, usual: Floats, discount: Floats) -> dict[str, Floats]:
    price = panel.price
    middle = pd.DataFrame(price.T).rolling(USUAL_PERIODS, min_periods=1).median().shift(1).to_numpy().T
    past = [_last_known(lagged(price, k)) for k in (1, 2)]
    shop = np.nanmean(_filled(discount), axis=0)
    return {
        "log_price": np.log(price),
        "log_price_usual": np.log(price / usual),
        "log_price_middle": np.log(price / middle),
        "log_price_change": np.log(price / past[0]),
        "log_price_change_2": np.log(price / past[1]),
        "discount_shop": np.broadcast_to(shop, price.shape).copy(),
    }


def _promotion(
    panel: Panel, units: Floats, base: Floats, promo: Bools, discount: Floats, horizon: int
) -> dict[str, Floats]:
    """What promotions did before, how deep and how recent they are, and how many ran of late."""
    lift = np.log((units + 0.1 * base) / (1.1 * base))
    on = lagged(_last_known(trailing_mean(np.where(promo, lift, np.nan), 52)), horizon)
    off = lagged(_last_known(trailing_mean(np.where(promo, np.nan, lift), 26)), horizon)
    deep = lagged(_last_known(trailing_mean(np.where(promo, discount, np.nan), 52)), horizon)
    running = promo.astype(np.float64)
    since = pd.DataFrame(np.where(promo, np.arange(promo.shape[1]), np.nan).T).ffill().shift(1).to_numpy().T
    return {
        "in_promo": running,
        "discount": discount,
        "promo_lift": on,
        "plain_lift": off,
        "expected_lift": np.where(promo, on, off),
        "discount_before": deep,
        "promo_share_8": trailing_mean(lagged(running, 1), 8),
        "promo_before": lagged(running, 1),
        "promo_before_2": lagged(running, 2),
        "since_promo": np.minimum(np.arange(promo.shape[1]) - since, 30.0),
    }


def _calendar(panel: Panel) -> dict[str, Floats]:
    shape = panel.units.shape
    day = panel.periods.dayofyear.to_numpy(dtype=np.float64)
    angle = 2.0 * np.pi * day / 365.25
    rows = {
        "week_of_year": panel.periods.isocalendar().week.to_numpy(dtype=np.float64),
        "year_sin": np.sin(angle),
        "year_cos": np.cos(angle),
        "trend": np.arange(shape[1], dtype=np.float64),
    }
    if not panel.weekly:
        rows |= {
            "weekday": panel.periods.dayofweek.to_numpy(dtype=np.float64),
            "day": panel.periods.day.to_numpy(float),
        }
    return {name: np.broadcast_to(values, shape).copy() for name, values in rows.items()}


def _among(
    panel: Panel, name: str, values: Floats, discount: Floats, units: Floats, base: Floats, horizon: int
) -> dict[str, Floats]:
    """For a column that names a group of series (a store, a brand): discounts and sales of the group's other series.

    A column that never changes within a series and is shared by several names a group.
    """
    group = _groups(values)
    if group is None:
        return {}
    lift = lagged(np.log((units + 0.1 * base) / (1.1 * base)), horizon)
    log_price = np.log(panel.price)
    return {
        f"rivals_discount_{name}": _others_mean(discount, group),
        f"rivals_price_{name}": log_price - _others_mean(log_price, group),
        f"rivals_lift_{name}": _others_mean(lift, group),
    }


def _groups(values: Floats) -> Ints | None:
    """Codes of the groups a column names, shape (series,); None where it names none."""
    first = np.nanmin(np.where(np.isfinite(values), values, np.inf), axis=1)
    last = np.nanmax(np.where(np.isfinite(values), values, -np.inf), axis=1)
    if not np.array_equal(first, last):
        return None
    names, code = np.unique(first, return_inverse=True)
    return np.asarray(code, dtype=np.int64) if 2 <= len(names) <= len(first) // 2 else None


def _others_mean(values: Floats, group: Ints) -> Floats:
    """Mean over the group's other series in the same period; NaN where there is none."""
    known = np.isfinite(values)
    total, count = (np.zeros((int(group.max()) + 1, values.shape[1])) for _ in range(2))
    np.add.at(total, group, np.where(known, values, 0.0))
    np.add.at(count, group, known.astype(np.float64))
    total, count = total[group] - np.where(known, values, 0.0), count[group] - known
    return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)
