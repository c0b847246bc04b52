"""A running sale as arrays: what the watch's minutes say of every cell of a plan, up to the last closed minute.

The clock is the events': a minute is closed once something of a later one is known, so the clock is the beginning of
the newest minute of the watch. Nothing here asks what time it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from flashsale.errors import InputError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NEEDED = ("minute", "sku_id", "region_id", "units", "cancelled_units", "on_hand")
COUNTED = ("units", "cancelled_units", "on_hand")
MINUTE = pd.Timedelta(minutes=1)
WATCH = "start the DAG watch_live_sale for it (or its job with --once)"


@dataclass(frozen=True)
class Running:
    """A sale at its clock. `begins` is the first start of its offers; cells are in the plan's order.

    `sold` and `left` units until the clock, shape (skus, regions), cancelled units put back; `stocked` whether a cell
    had stock in each minute from `begins` to the clock, shape (skus, regions, minutes).
    """

    begins: pd.Timestamp
    clock: pd.Timestamp
    sold: Ints
    left: Ints
    stocked: Bools

    @property
    def minutes(self) -> int:
        """Closed minutes since the first start."""
        return int(self.stocked.shape[2])


@dataclass(frozen=True)
class Offers:
    """The plan's cells: `sku_ids`, `region_ids`, and by SKU when its offer starts and ends (UTC)."""

    sku_ids: list[str]
    region_ids: list[str]
    starts_at: list[pd.Timestamp]
    ends_at: list[pd.Timestamp]

    @property
    def begins(self) -> pd.Timestamp:
        """First start."""
        return min(self.starts_at)

    @property
    def ends(self) -> pd.Timestamp:
        """Last end."""
        return max(self.ends_at)


@dataclass(frozen=True)
class Sent:
    """Units that a plan or an earlier re-plan brought into cells (below 0: took out), shape (skus, regions)."""

    at: pd.Timestamp
    units: Ints


def read_running(name: str, offers: Offers, minutes: pd.DataFrame, sent: Sequence[Sent]) -> Running:
    """The sale at its clock.

    Args:
        name: of the sale, for errors.
        offers: the plan's cells.
        minutes: rows of `live/minutes`; other SKUs and topics may stand among them and move the clock.
        sent: the plan's units and what was moved since, by time; a later stock reading overrules it.

    Raises:
        InputError: where figures are missing or cannot be, the sale has not begun, or it is over.
    """
    frame = _checked(name, minutes)
    clock = frame["minute"].max()
    if clock <= offers.begins:
        words = f"it begins at {offers.begins:%Y-%m-%d %H:%M} UTC and no minute of it is closed yet"
        raise InputError(f"sale {name}", words, "ask again once it runs", field="minute")
    if clock >= offers.ends:
        words = f"it ended at {offers.ends:%Y-%m-%d %H:%M} UTC"
        raise InputError(f"sale {name}", words, "score it instead: the DAG post_sale", field="minute")
    units, readings = _by_minute(name, offers, frame, int((clock - offers.begins) / MINUTE))
    opening, level = _stock(units, readings, _arrived(offers, sent, units.shape))
    on_sale = _on_sale(offers, units.shape[2])[:, None, :]
    stocked = ((opening >= 1) | (units > 0)) & on_sale
    sold = np.maximum(np.rint((units * on_sale).sum(axis=2)), 0).astype(np.int64)
    return Running(offers.begins, clock, sold, np.maximum(np.floor(level), 0).astype(np.int64), stocked)


def _checked(name: str, minutes: pd.DataFrame) -> pd.DataFrame:
    """The rows with UTC minutes; InputError that names the first column or row that cannot be used."""
    subject = f"live figures of sale {name}"
    missing = [column for column in NEEDED if column not in minutes]
    if missing:
        raise InputError(subject, "they lack this column", "give the table that the watch writes", field=missing[0])
    if minutes.empty:
        raise InputError(subject, "the watch has written none", WATCH)
    frame = minutes.reset_index(drop=True)
    frame["minute"] = pd.to_datetime(frame["minute"], utc=True, errors="coerce", format="ISO8601")
    bad = {"minute": frame["minute"].isna()} | {column: frame[column].fillna(0) < 0 for column in COUNTED}
    for column, rows in bad.items():
        if rows.any():
            words = "it is no moment" if column == "minute" else f"{frame.loc[rows, column].iloc[0]} is below 0"
            raise InputError(subject, words, "mend the row, or watch the sale again from its checkpoint",
                             field=column, row=int(np.flatnonzero(rows)[0]))  # fmt: skip
    key = [column for column in ("minute", "sku_id", "region_id", "topic") if column in frame]
    twice = frame.duplicated(key)
    if twice.any():
        raise InputError(subject, "the minute stands twice for a SKU and region", "leave one of the rows out",
                         field="minute", row=int(np.flatnonzero(twice)[0]))  # fmt: skip
    return frame


def _by_minute(name: str, offers: Offers, frame: pd.DataFrame, count: int) -> tuple[Floats, Floats]:
    """Net units and last stock reading (NaN: none) of each cell in `count` minutes, shape (skus, regions, minutes)."""
    sku = pd.Index(offers.sku_ids).get_indexer(pd.Index(frame["sku_id"].astype(str)))
    region = pd.Index(offers.region_ids).get_indexer(pd.Index(frame["region_id"].astype(str)))
    at = ((frame["minute"] - offers.begins) // MINUTE).to_numpy(dtype=np.int64)
    ours = (sku >= 0) & (region >= 0) & (at >= 0) & (at < count)
    named = frame["sku_id"].fillna("").astype(str).ne("") & frame["region_id"].fillna("").astype(str).ne("")
    if named.any() and not ((sku >= 0) & (region >= 0)).any():  # rows of topics alone: nothing has sold yet
        words = f"none of their rows is about a SKU and region of the plan (asked: {offers.sku_ids[0]}, …)"
        raise InputError(f"live figures of sale {name}", words, "name the watched sale with --campaign-id",
                         field="sku_id")  # fmt: skip
    place = (sku[ours], region[ours], at[ours])
    net = frame["units"].fillna(0).to_numpy(np.float64) - frame["cancelled_units"].fillna(0).to_numpy(np.float64)
    units = np.zeros((len(offers.sku_ids), len(offers.region_ids), count))
    np.add.at(units, place, net[ours])
    readings = np.full(units.shape, np.nan)
    readings[place] = frame["on_hand"].astype("float64").to_numpy()[ours]
    return units, readings


def _on_sale(offers: Offers, count: int) -> Bools:
    """Whether each SKU's own offer runs in a minute, shape (skus, minutes): starts may lie hours apart."""
    at = np.arange(count)
    first = [int((start - offers.begins) / MINUTE) for start in offers.starts_at]
    last = [int((end - offers.begins) / MINUTE) for end in offers.ends_at]
    return (at >= np.array(first)[:, None]) & (at < np.array(last)[:, None])


def _arrived(offers: Offers, sent: Sequence[Sent], shape: tuple[int, ...]) -> Floats:
    """Units brought in at the beginning of each minute, shape (skus, regions, minutes)."""
    arrived = np.zeros(shape)
    for part in sent:
        at = max(int((part.at - offers.begins) / MINUTE), 0)
        if at < shape[2]:
            arrived[:, :, at] += part.units
    return arrived


def _stock(units: Floats, readings: Floats, arrived: Floats) -> tuple[Floats, Floats]:
    """Units in stock when each minute opened, and after the last one.

    From a reading on it is the reading that counts, less what was sold since; units of the reading's own minute may
    lie before or after it, and half of them are taken off (as the watch does). Before any reading it is what was sent.
    """
    read = ~np.isnan(readings)
    index = np.where(read, np.arange(units.shape[2]), -1)
    last = np.maximum.accumulate(index, axis=2)
    flow = np.cumsum(arrived - units, axis=2)
    known = np.take_along_axis(np.maximum(np.nan_to_num(readings) - units / 2, 0.0) - flow, np.maximum(last, 0), axis=2)
    level = flow + np.where(last >= 0, known, 0.0)
    opening = np.concatenate([np.zeros((*units.shape[:2], 1)), level[:, :, :-1]], axis=2) + arrived
    return opening, level[:, :, -1]
