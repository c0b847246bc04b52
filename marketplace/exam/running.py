"""The sale that is examined, minute by minute: what a watch would have seen of it, and how it ends if it is changed.

The customers are those of `marketplace.exam.arrivals`: a buyer comes when the mean demand that has passed reaches his
own time, so that the same luck meets every re-plan, and a price that changes on the way moves who still comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from marketplace.choice import Floats, Ints
from marketplace.delivery import kept
from marketplace.exam.arrivals import Arrivals
from marketplace.exam.table import Action, Sale
from marketplace.future import DURATION_HOURS
from marketplace.world import HOUR_US, SALE_MEAN_QUANTITY

MINUTE_US = HOUR_US // 60


@dataclass(frozen=True)
class Change:
    """Something done to a running sale at a minute: other prices, or units put in (below 0: taken out), (s, r)."""

    minute: int
    chosen: list[Action] | None = None
    units: Ints | None = None


@dataclass(frozen=True)
class Run:
    """A sale that was played: `sold` and `stock` at each minute's end, shape (s, r, minutes); `profit` in cents."""

    begins_us: int
    opened: Ints
    sold: Ints
    stock: Ints
    profit: float

    def minutes(self, sale: Sale, until: int) -> pd.DataFrame:
        """What the watch knows once `until` minutes are closed: rows of `live/minutes`.

        Stock is read at the start, hourly, and when a cell sells out.
        """
        sold, stock = self.sold[:, :, :until], self.stock[:, :, :until]
        before = np.concatenate([self.opened[:, :, None], stock[:, :, :-1]], axis=2)
        read = np.zeros(sold.shape, dtype=bool)
        read[:, :, 59::60] = True
        read |= (stock == 0) & (before > 0)
        s, r, minute = np.nonzero((sold > 0) | read)
        readings = np.where(read, stock, -1)[s, r, minute].astype(float)
        rows = pd.DataFrame({
            "minute": minute, "sku": s, "region": r, "units": sold[s, r, minute],
            "on_hand": np.where(readings >= 0, readings, np.nan),
        })  # fmt: skip
        clock = pd.DataFrame({"minute": [until], "sku": [0], "region": [0], "units": [0], "on_hand": [np.nan]})
        rows = pd.concat([rows, clock], ignore_index=True)
        names = np.array([sale.world.sku_ids[k] for k in sale.asked.sku])
        moment = pd.to_datetime(self.begins_us + rows["minute"] * MINUTE_US, unit="us", utc=True)
        return rows.assign(
            minute=moment, sku_id=names[rows["sku"]], region_id=np.array(sale.world.region_ids)[rows["region"]],
            cancelled_units=0,
        )  # fmt: skip


def run_sale(
    sale: Sale,
    chosen: list[Action],
    units: Ints,
    arrivals: Arrivals,
    changes: Sequence[Change] = (),
    repetition: int = 0,
) -> Run:
    """Play a sale once.

    Args:
        chosen: actions at the start, by SKU.
        units: sent before it, shape (s, r).
        changes: what is done while it runs, by minute. Units put in cost the region's shipping; those that exceed what
            is taken out at or before that minute were bought.
    """
    slots = np.array([action[2] for action in chosen])
    begins, length = int(slots.min()), int((slots.max() - slots.min()) // MINUTE_US) + DURATION_HOURS * 60
    shares = _shares(sale, slots, begins, length)
    mean, price = np.zeros((*units.shape, length)), np.zeros((*units.shape, length))
    for change in [Change(0, chosen), *(c for c in changes if c.chosen is not None)]:
        now = chosen if change.chosen is None else change.chosen
        mean[:, :, change.minute :] = sale.means(now)[:, :, None]
        price[:, :, change.minute :] = sale.paid(now)[:, :, None]
    wanted = _wanted(arrivals, np.cumsum(mean * shares[:, None, :], axis=2), repetition)
    arrived = np.zeros((*units.shape, length), dtype=np.int64)
    for change in changes:
        if change.units is not None and change.minute < length:
            arrived[:, :, change.minute] += change.units
    sold, stock = _serve(units, arrived, wanted)
    sent = units.sum(axis=1) + arrived.sum(axis=(1, 2))
    put_in = units + np.maximum(arrived, 0).sum(axis=2)
    stays = kept(sale.world.delay)[None, :, None]  # units undone by slow delivery are worth their salvage value
    earned = price * stays + sale.salvage[:, None, None] * (1.0 - stays)
    profit = (earned * sold).sum() + (sale.salvage * stock[:, :, -1].sum(axis=1)).sum()
    profit = profit - (sale.cost * sent).sum() - (sale.shipping * put_in).sum()
    return Run(begins, units + np.maximum(arrived[:, :, 0], 0), sold, stock, float(profit))


def _shares(sale: Sale, slots: Ints, begins: int, length: int) -> Floats:
    """Share of each SKU's demand in every minute of the whole sale, shape (s, minutes)."""
    shares = np.zeros((len(slots), length))
    for i, sku in enumerate(sale.asked.sku):
        curve = sale.world.curve(int(sale.world.category[sku]), int(slots[i] // HOUR_US % 24), DURATION_HOURS)
        first = int((slots[i] - begins) // MINUTE_US)
        shares[i, first : first + DURATION_HOURS * 60] = np.repeat(curve / 60.0, 60)
    return shares


def _wanted(arrivals: Arrivals, passed: Floats, repetition: int) -> Ints:
    """Units wanted in each minute, shape as `passed` (mean units until the end of each minute)."""
    out = np.zeros(passed.shape, dtype=np.int64)
    for s, r in np.ndindex(passed.shape[:2]):
        lines = passed[s, r] / SALE_MEAN_QUANTITY
        came = np.searchsorted(arrivals.times[s, r, repetition], lines, side="right")
        out[s, r] = np.diff(arrivals.units[s, r, repetition][came], prepend=0)
    return out


def _serve(units: Ints, arrived: Ints, wanted: Ints) -> tuple[Ints, Ints]:
    """Units handed over, and stock at each minute's end: who comes to an empty shelf goes."""
    stock, sold, left = units.copy(), np.zeros_like(wanted), np.zeros_like(wanted)
    for minute in range(wanted.shape[2]):
        stock = stock + arrived[:, :, minute]
        sold[:, :, minute] = np.minimum(wanted[:, :, minute], stock)
        stock = stock - sold[:, :, minute]
        left[:, :, minute] = stock
    return sold, left
