"""Daily sales as a matrix of series, with the days of every sale masked and filled by what is usual."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FILL_DAYS = 14  # days on either side that say what is usual on a masked day


@dataclass(frozen=True)
class Panel:
    """Series (SKU x region) by days.

    `units` and `revenue` are as they were; `usual` has days in a sale replaced by the mean of the days around;
    `on_sale` marks these days; `alive` the days from the series' first on.
    """

    keys: pd.MultiIndex  # sku_id, region_id
    days: pd.DatetimeIndex
    units: Floats
    revenue: Floats
    usual: Floats
    on_sale: Bools
    alive: Bools

    def row(self, sku_id: str, region_id: str) -> int | None:
        """Row of a series, None where it has no day."""
        found = self.keys.get_indexer(pd.MultiIndex.from_tuples([(sku_id, region_id)]))[0]
        return None if found < 0 else int(found)


def build_panel(daily: pd.DataFrame) -> Panel:
    """Make the matrices.

    Args:
        daily: one row a SKU, region and day: `sales_date`, `sku_id`, `region_id`, `units`, `revenue`,
            `in_campaign`; dense from each series' first day on.
    """
    dates = pd.DatetimeIndex(pd.to_datetime(daily["sales_date"]).dt.tz_localize(None))
    days = pd.date_range(dates.min(), dates.max(), freq="D")
    keys = pd.MultiIndex.from_frame(
        daily[["sku_id", "region_id"]].drop_duplicates().sort_values(["sku_id", "region_id"])
    )
    row = keys.get_indexer(pd.MultiIndex.from_frame(daily[["sku_id", "region_id"]]))
    column = days.get_indexer(dates)
    shape = (len(keys), len(days))
    units, revenue = np.zeros(shape), np.zeros(shape)
    on_sale, alive = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    units[row, column] = daily["units"].to_numpy(dtype=np.float64)
    revenue[row, column] = daily["revenue"].to_numpy(dtype=np.float64)
    on_sale[row, column] = daily["in_campaign"].to_numpy(dtype=bool)
    alive[row, column] = True
    return Panel(keys, days, units, revenue, _filled(units, alive & ~on_sale), on_sale, alive)


def _filled(units: Floats, usable: Bools) -> Floats:
    """Units with unusable days replaced by the mean of usable ones within `FILL_DAYS`, else of the whole series."""
    kernel = np.ones(2 * FILL_DAYS + 1)
    kept = np.where(usable, units, 0.0)
    own = slice(FILL_DAYS, FILL_DAYS + units.shape[1])
    total, count = (
        np.apply_along_axis(np.convolve, 1, given, kernel, mode="full")[:, own] if units.size else kept
        for given in (kept, usable.astype(float))
    )
    whole = kept.sum(axis=1) / np.maximum(usable.sum(axis=1), 1)
    local = np.where(count > 0, total / np.maximum(count, 1.0), whole[:, None])
    return np.asarray(np.where(usable, units, local), dtype=np.float64)
