"""Unconstrained demand of any hourly panel, as a file in and a file out.

In: Parquet, CSV or JSON Lines with `series_id`, `hour_start` (moment, UTC), `units` (whole or scaled), `in_stock`
(share of the hour with stock, or a boolean), and optionally `class_id` (series that share curves and spread; one
class by default). Out: `series_id`, `date`, `units`, `demand`, `demand_p10`, `demand_p90`, `method`:

- `observed`: stock throughout; demand is the units sold,
- `curve`: mostly from what the day sold while it had stock,
- `level`: mostly from the series' other days (level, weekday, the class's day),
- `nothing_learnt`: sold out with too little to go by; demand is the units sold, a lower bound.

A panel whose series are short (sales of up to three days) is read by hours since the sale's start, a sale a row; any
other by hours of the day. See `ml.demand.hourly` for the method.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from flashsale.errors import InputError
from flashsale.settings import settings
from ml.demand.files import check_out, moments, numbers, read_panel, refuse_faults, write_panel
from ml.demand.hidden_hours import calibrate
from ml.demand.hourly import Floats, Rows, count_bounds, expected_missing, learn
from ml.demand.unconstrain import CURVE, LEAST_SHARE, NOTHING, OBSERVED

NEEDED = ("series_id", "hour_start", "units", "in_stock")
LEVEL = "level"
SHORT_HOURS = 72  # a panel whose median series spans no more is one of sales
LEAST_OTHER_DAYS = 1.0  # days of demand seen elsewhere that a series' level needs
MOST_YEARS = 20  # from the panel's middle; a year mistyped would stretch it over centuries
PARTLY = 0.5  # exposure of an hour that is marked out of stock and sold something

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shaped:
    """A panel as rows, and where each hour of it lies: `row` and `slot` of shape (hours,); `short` for sales."""

    rows: Rows
    row: Ints
    slot: Ints
    short: bool


def unconstrain_panel(panel: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Daily demand of every series, in order of series and date.

    Raises:
        InputError: naming the field and the row of the first missing, negative, doubled or impossible value.
    """
    _check(panel)
    shaped = shape(panel)
    rows = shaped.rows
    learnt = learn(rows)
    found = expected_missing(learnt, rows)
    calibration = calibrate(rows, learnt, seed) if learnt.phi != 1.0 else None
    method = _methods(rows, shaped.short, found.share, found.own, learnt.phi)
    ratio = np.where((method == CURVE) | (method == LEVEL), calibration.ratios(found) if calibration else 1.0, 0.0)
    lost_hours = np.maximum(found.hidden * ratio[:, None] - rows.units * (rows.exposure <= 0), 0.0)
    lost = lost_hours.sum(axis=1)
    low, high = calibration.bounds(found, lost) if calibration else count_bounds(found, lost, learnt.phi)
    spread = np.where(lost > 0, 1.0 / np.maximum(lost, 1e-12), 0.0)
    days = _days(panel, shaped, lost_hours)
    # a sale over midnight shares its bounds out by what is missing
    part = days["lost"].to_numpy() * spread[days["row"]]
    out = days.reset_index().assign(method=np.where(days["kept"], OBSERVED, method[days["row"]]))
    out["demand"] = out["units"] + out["lost"]
    out["demand_p10"] = out["units"] + np.minimum(low[days["row"]] * part, out["lost"])
    out["demand_p90"] = out["units"] + np.maximum(high[days["row"]] * part, out["lost"])
    out["date"] = out["date"].dt.date
    return out[["series_id", "date", "units", "demand", "demand_p10", "demand_p90", "method"]]


def _days(panel: pd.DataFrame, shaped: Shaped, lost: Floats) -> pd.DataFrame:
    """Units and what is missing by series and date, whether all of its hours `kept` stock, and the `row` it lies in.

    A sale of two days may have rows that end on either: the date's row is that of its first hour without stock.
    """
    hours = pd.DataFrame(
        {
            "series_id": panel["series_id"].to_numpy(),
            "date": moments(panel["hour_start"], local=False).dt.normalize(),
            "units": numbers(panel["units"]),
            "lost": lost[shaped.row, shaped.slot],
            "row": shaped.row,
            "kept": numbers(panel["in_stock"]) >= 1.0,
        }
    ).sort_values("kept", kind="stable")
    named = {"units": ("units", "sum"), "lost": ("lost", "sum"), "row": ("row", "first"), "kept": ("kept", "all")}
    return hours.groupby(["series_id", "date"], sort=True).agg(**named)


def _check(panel: pd.DataFrame) -> None:
    for name in NEEDED:
        if name not in panel.columns:
            raise InputError("hourly panel", "a column is missing", f"give {', '.join(NEEDED)}", field=name)
    if panel.empty:
        raise InputError("hourly panel", "it holds no row", "give hours of sales")
    units, stock = numbers(panel["units"]), numbers(panel["in_stock"])
    hour = moments(panel["hour_start"], local=False)
    keys = pd.DataFrame({"series_id": panel["series_id"].to_numpy(), "hour": hour.dt.floor("h")})
    far = (hour - hour.dropna().median()).abs() > pd.Timedelta(days=MOST_YEARS * 365)
    faults = (
        ("series_id", panel["series_id"].isna(), "is missing"),
        ("hour_start", hour.isna(), "is missing or no moment (2026-11-01T08:00:00Z)"),
        ("hour_start", far, f"lies more than {MOST_YEARS} years from the others"),
        ("units", ~(units >= 0) | ~np.isfinite(units), "is missing, negative or no number"),
        ("in_stock", ~((stock >= 0) & (stock <= 1)), "is missing or no share of an hour"),
        (
            "hour_start",
            keys.duplicated(),
            "lies in an hour that stands there already; a row is a whole hour",
        ),
    )
    refuse_faults("hourly panel", faults)


def shape(panel: pd.DataFrame) -> Shaped:
    """The panel as rows of hours; hours that it does not hold count as not present."""
    moment = moments(panel["hour_start"], local=False)
    hour = (moment.astype("int64") // (3_600 * 10**9 // _unit(moment))).to_numpy()
    series = pd.factorize(panel["series_id"])[0].astype(np.int64)
    first = pd.Series(hour).groupby(series).min().to_numpy()
    span = pd.Series(hour).groupby(series).max().to_numpy() - first + 1
    short = bool(np.median(span) <= SHORT_HOURS)
    if short:
        base = first[series]
        slots = int(max(np.quantile(span, 0.99), 1))
        # a sale far longer than the others goes on in rows of its own
        row_key, slot = series * 10_000 + (hour - base) // slots, (hour - base) % slots
    else:
        slots = 24
        row_key, slot = series * 100_000 + hour // 24 - hour.min() // 24, hour % 24
    names, index, row = np.unique(row_key, return_index=True, return_inverse=True)
    shape_of = (len(names), slots)
    units, exposure, present = np.zeros(shape_of), np.zeros(shape_of), np.zeros(shape_of, dtype=bool)
    units[row, slot] = numbers(panel["units"])
    exposure[row, slot] = numbers(panel["in_stock"])
    present[row, slot] = True
    exposure = np.where((exposure <= 0) & (units > 0), PARTLY, exposure)
    group = np.zeros(len(names), dtype=np.int64)
    if "class_id" in panel.columns:  # those without one are a class too
        group = pd.factorize(panel["class_id"].to_numpy()[index], use_na_sentinel=False)[0]
    day = hour[index] // 24
    rows = Rows(
        units=units,
        exposure=exposure,
        present=present,
        series=np.arange(len(names)) if short else series[index],
        group=group.astype(np.int64),
        day=(day - day.min()).astype(np.int64),
        weekday=((day + 3) % 7).astype(np.int64),
        start=((hour[index] - slot[index]) % 24).astype(np.int64),
    )
    return Shaped(rows, row.astype(np.int64), slot.astype(np.int64), short)


def _unit(moment: pd.Series) -> int:
    """Nanoseconds of one step of the moments' integers."""
    return {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[moment.dt.unit]


def _methods(rows: Rows, short: bool, share: Floats, own: Floats, phi: float) -> npt.NDArray[Any]:
    censored = (rows.present & (rows.exposure < 1.0)).any(axis=1)
    told = (rows.seen() / phi >= 2.0) & (share >= LEAST_SHARE)
    elsewhere = np.zeros(len(rows))
    if not short:
        elsewhere = np.bincount(rows.series, share)[rows.series] - share
    known = elsewhere >= LEAST_OTHER_DAYS
    estimate = np.where(known & (own < 0.5), LEVEL, CURVE)
    return np.where(censored, np.where(told | known, estimate, NOTHING), OBSERVED)


def unconstrain_file(source: Path | None, out: Path | None) -> dict[str, Any]:
    """Read a panel, write its daily demand; returns counts. The file appears whole or not at all."""
    if source is None or out is None:
        raise InputError("hourly panel", "only one of --in and --out is given", "give both")
    check_out(out)
    result = unconstrain_panel(read_panel(source), settings().seed)
    write_panel(result, out)
    counts = result["method"].value_counts()
    print(f"{len(result)} series-days", file=sys.stderr)
    return {
        "out": str(out),
        "rows": len(result),
        "units": float(result.units.sum()),
        "demand": float(result.demand.sum()),
        **{name: int(counts.get(name, 0)) for name in (OBSERVED, CURVE, LEVEL, NOTHING)},
    }
