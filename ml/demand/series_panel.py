"""A weekly or daily panel as matrices of series x periods, checked; gaps are NaN.

Columns: `series_id`, `period_start`, `units`, `price`, optionally `list_price` and `promo_type`, and further numeric
columns that are known before the period (planned displays, holidays, the store's number).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from flashsale.errors import InputError
from ml.demand.files import refuse_faults

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NEEDED = ("series_id", "period_start", "units", "price")
KNOWN = (*NEEDED, "list_price", "promo_type")
NO_PROMO = "none"
PLAIN = ("", "0", "0.0", "none", "no", "false", "nan")  # in lower case: what stands for no promotion
WEEK_DAYS = 5  # periods whose usual distance is at least so many days are weeks


@dataclass(frozen=True)
class Panel:
    """Matrices of shape (series, periods).

    `units` and `price` are NaN where the series has no record; `promo` holds codes of `promo_names` (0: none);
    `extra` maps further columns to matrices. `weekly` says how long a period is, `season` how many make a season.
    """

    series: npt.NDArray[np.object_]
    periods: pd.DatetimeIndex
    units: Floats
    price: Floats
    list_price: Floats
    promo: Ints
    promo_names: list[str]
    extra: dict[str, Floats]
    weekly: bool

    @property
    def season(self) -> int:
        """Periods of a season: 52 weeks, or 7 days."""
        return 52 if self.weekly else 7

    @property
    def there(self) -> Bools:
        """Where a series has a record."""
        return np.isfinite(self.units)

    @property
    def whole(self) -> bool:
        """Whether all units are counts."""
        known = self.units[self.there]
        return bool((known == np.round(known)).all())


def build_panel(frame: pd.DataFrame) -> Panel:
    """Matrices of a checked panel, in order of series and period.

    Raises:
        InputError: naming the field and the row of the first missing, negative or doubled value.
    """
    _check(frame)
    frame = frame.assign(period_start=_moments(frame["period_start"]))
    names, series = np.unique(frame["series_id"].astype(str).to_numpy(), return_inverse=True)
    periods = _grid(pd.DatetimeIndex(np.unique(frame["period_start"].to_numpy())))
    column = periods.get_indexer(pd.DatetimeIndex(frame["period_start"]))

    def matrix(values: pd.Series) -> Floats:
        out = np.full((len(names), len(periods)), np.nan)
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
        out[series, column] = np.where(np.isfinite(numbers), numbers, np.nan)
        return out

    promo, promo_names = np.zeros((len(names), len(periods)), dtype=np.int64), [NO_PROMO]
    if "promo_type" in frame.columns:
        labels = frame["promo_type"].fillna(NO_PROMO).astype(str).str.strip()
        labels = labels.where(~labels.str.lower().isin(PLAIN), NO_PROMO)
        promo_names += sorted(set(labels) - {NO_PROMO})
        promo[series, column] = labels.map({name: i for i, name in enumerate(promo_names)}).to_numpy()
    listed = matrix(frame["list_price"]) if "list_price" in frame.columns else np.full(promo.shape, np.nan)
    extra = {name: matrix(frame[name]) for name in extra_columns(frame)}
    apart = np.median(np.diff(periods.to_numpy()).astype("timedelta64[D]").astype(int)) if len(periods) > 1 else 1
    return Panel(
        names.astype(object), periods, matrix(frame["units"]), matrix(frame["price"]), listed, promo, promo_names,
        extra, bool(apart >= WEEK_DAYS),
    )  # fmt: skip


def _grid(periods: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """The periods with those between them that no series has a record of, where their distances are even.

    A shop that is shut on Sundays still has weeks of seven days. Months, whose lengths differ, stay as they are, and so
    does a panel of which more than half would be gaps.
    """
    apart = np.diff(periods.to_numpy())
    if not len(apart) or (apart % apart.min()).astype(np.int64).any():
        return periods
    whole = pd.date_range(periods[0], periods[-1], freq=pd.Timedelta(apart.min()))
    return whole if len(whole) <= 2 * len(periods) else periods


def extra_columns(frame: pd.DataFrame) -> list[str]:
    """Further columns that are numeric or boolean, in order of their names."""
    kinds = [c for c in frame.columns if c not in KNOWN and pd.api.types.is_numeric_dtype(frame[c])]
    return sorted(str(c) for c in kinds)


def _moments(values: pd.Series) -> pd.Series:
    """Moments in UTC without a zone; NaT where a value is no date."""
    return pd.to_datetime(values, utc=True, errors="coerce").dt.tz_localize(None)


def _check(frame: pd.DataFrame) -> None:
    for name in NEEDED:
        if name not in frame.columns:
            raise InputError("panel", "a column is missing", f"give {', '.join(NEEDED)}", field=name)
    if frame.empty:
        raise InputError("panel", "it holds no row", "give periods of sales")
    if pd.api.types.is_numeric_dtype(frame["period_start"]):
        raise InputError("panel", "it holds numbers, not dates", "give each period's first day", field="period_start")
    keys = pd.DataFrame({"series_id": frame["series_id"].astype(str), "period_start": _moments(frame["period_start"])})
    units, price = (pd.to_numeric(frame[name], errors="coerce") for name in ("units", "price"))
    faults = [
        ("series_id", frame["series_id"].isna(), "is missing"),
        ("period_start", keys["period_start"].isna(), "is missing or no date"),
        ("units", ~(units >= 0) | ~np.isfinite(units), "is missing, negative or no number"),
        ("price", ~(price > 0) | ~np.isfinite(price), "is missing, not above zero or no number"),
        ("period_start", keys.duplicated(), "stands twice for one series"),
    ]
    if "list_price" in frame.columns:
        listed = pd.to_numeric(frame["list_price"], errors="coerce")
        faults.append(("list_price", (listed <= 0), "is not above zero"))
    refuse_faults("panel", faults)
