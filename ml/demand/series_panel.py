"""A weekly or daily panel as matrices of series x periods, checked; gaps are NaN.

Columns: `series_id`, `period_start`, `units`, `price`, optionally `list_price` and `promo_type`, and further numeric
columns that are known before the period (planned displays, holidays, the store's number).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pandas as pd

from flashsale.errors import InputError
from ml.demand.files import moments, numbers, refuse_faults

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NEEDED = ("series_id", "period_start", "units", "price")
KNOWN = (*NEEDED, "list_price", "promo_type")
NO_PROMO = "none"
PLAIN = ("", "0", "0.0", "none", "no", "false", "nan")  # in lower case: what stands for no promotion
DAY = pd.Timedelta(days=1)
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
    frame = frame.reset_index(drop=True)
    frame["period_start"] = moments(frame["period_start"], local=True)
    weekly = _weekly(frame)
    names, series = _series(frame["series_id"])
    periods = _grid(pd.DatetimeIndex(np.unique(frame["period_start"].to_numpy())))
    column = periods.get_indexer(pd.DatetimeIndex(frame["period_start"]))

    def matrix(values: pd.Series) -> Floats:
        out = np.full((len(names), len(periods)), np.nan)
        known = numbers(values).to_numpy()
        out[series, column] = np.where(np.isfinite(known), known, np.nan)
        return out

    promo, promo_names = np.zeros((len(names), len(periods)), dtype=np.int64), [NO_PROMO]
    if "promo_type" in frame.columns:
        labels = frame["promo_type"].astype(object).fillna(NO_PROMO).astype(str).str.strip()
        labels = labels.where(~labels.str.lower().isin(PLAIN), NO_PROMO)
        promo_names += sorted(set(labels) - {NO_PROMO})
        promo[series, column] = labels.map({name: i for i, name in enumerate(promo_names)}).to_numpy()
    listed = matrix(frame["list_price"]) if "list_price" in frame.columns else np.full(promo.shape, np.nan)
    extra = {name: matrix(frame[name]) for name in extra_columns(frame)}
    return Panel(
        names, periods, matrix(frame["units"]), matrix(frame["price"]), listed, promo, promo_names, extra, weekly,
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
    return sorted(str(c) for c in frame.columns if c not in KNOWN and _numeric(frame[c]))


def _numeric(values: pd.Series) -> bool:
    """Whether a column holds numbers, booleans or decimals, whatever stands between them where there are none."""
    if values.dtype != object:
        return pd.api.types.is_numeric_dtype(values)
    known = values.dropna()
    return bool(len(known)) and all(isinstance(value, bool | int | float | Decimal) for value in known)


def _series(ids: pd.Series) -> tuple[npt.NDArray[np.object_], Ints]:
    """Every series once, in order and of the kind it came as, and each row's place among them."""
    plain = ids.astype(object) if isinstance(ids.dtype, pd.CategoricalDtype) else ids
    kept = plain if pd.api.types.is_integer_dtype(plain) else plain.astype(str)
    names, series = np.unique(kept.to_numpy(), return_inverse=True)
    return names.astype(object), series.astype(np.int64)


def _weekly(frame: pd.DataFrame) -> bool:
    """Whether periods are weeks (or longer), by how far a series' own lie apart.

    Raises:
        InputError: where they are shorter than a day, or weeks that begin on other days for some series.
    """
    ordered = frame[["series_id", "period_start"]].sort_values(["series_id", "period_start"], kind="stable")
    apart = ordered["period_start"].diff()[ordered["series_id"].eq(ordered["series_id"].shift())]
    if apart.empty:
        return False
    refuse_faults(
        "panel",
        [("period_start", _rows_of(frame, apart < DAY), "lies less than a day after another: give days or weeks")],
    )
    days = apart.dt.days
    since = (frame["period_start"] - frame["period_start"].min()).dt.days % 7
    if (days % 7 == 0).all():
        words = "begins a week on another day than the first: align all series to one day of the week"
        refuse_faults("panel", [("period_start", since != 0, words)])
        return True
    every = frame["period_start"].drop_duplicates().sort_values()
    return bool(every.diff().dt.days.median() >= WEEK_DAYS)


def _rows_of(frame: pd.DataFrame, found: pd.Series) -> pd.Series:
    """The flags of some rows as flags of all rows of the frame."""
    return found.reindex(frame.index, fill_value=False)


def _check(frame: pd.DataFrame) -> None:
    for name in NEEDED:
        if name not in frame.columns:
            raise InputError("panel", "a column is missing", f"give {', '.join(NEEDED)}", field=name)
    if frame.empty:
        raise InputError("panel", "it holds no row", "give periods of sales")
    if pd.api.types.is_numeric_dtype(frame["period_start"]):
        raise InputError("panel", "it holds numbers, not dates", "give each period's first day", field="period_start")
    starts = moments(frame["period_start"], local=True)
    keys = pd.DataFrame({"series_id": frame["series_id"].astype(str).to_numpy(), "period_start": starts})
    units, price = numbers(frame["units"]), numbers(frame["price"])
    faults = [
        ("series_id", frame["series_id"].isna(), "is missing"),
        ("period_start", keys["period_start"].isna(), "is missing or no date"),
        ("units", ~(units >= 0) | ~np.isfinite(units), "is missing, negative or no number"),
        ("price", ~(price > 0) | ~np.isfinite(price), "is missing, not above zero or no number"),
        ("period_start", keys.duplicated(), "stands twice for one series"),
    ]
    if "list_price" in frame.columns:
        listed, given = numbers(frame["list_price"]), frame["list_price"].notna().reset_index(drop=True)
        faults.append(("list_price", given & ~(listed > 0), "is not above zero or no number"))
    refuse_faults("panel", faults)
