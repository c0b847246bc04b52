"""Which series may stand for what would have happened without a sale, and which the sale itself has moved.

A donor that the sale moved carries part of the effect into the counterfactual. Left out are series that were in a sale
of their own on the days, or close enough to wait for it or to be in its dip; the sale's SKUs in regions fed from the
same stock pool, and in all regions where they sold out, since whom the sale turned away may have bought there; and SKUs
of the same category or brand in the sale's regions. The last are scored beside the sale: halo and cannibalisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.scoring.panel import Panel
from ml.scoring.window import POST_DAYS, WAIT_DAYS, Window

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LEAST_MEAN = 0.05  # units a day: a donor below this says nothing
MOST_DONORS = 80
CELL = ["sku_id", "region_id"]


@dataclass(frozen=True)
class Neighbours:
    """Outside SKUs of one region that share a brand (`halo`) or a category with some cells of the sale.

    `rows` are their series, `cells` the positions of the cells they are tied to.
    """

    halo: bool
    rows: Ints
    cells: Ints


def donor_rows(
    panel: Panel, window: Window, offers: pd.DataFrame, products: pd.DataFrame, warehouses: dict[str, str]
) -> Ints:
    """Series that may serve as donors of a sale, the largest ones, in the panel's order.

    Args:
        offers: the sale's cells: `sku_id`, `region_id`, `is_sold_out`.
        products: `sku_id`, `brand`, `category`.
        warehouses: warehouse of each region; a region that is not named has one of its own.
    """
    alive = panel.alive[:, window.before | window.during].all(axis=1)
    means = panel.usual[:, window.before].mean(axis=1) if window.before.any() else np.zeros(len(panel.keys))
    clean = alive & (means >= LEAST_MEAN) & ~_own_sale(panel, window) & ~_moved(panel, offers, products, warehouses)
    rows = np.flatnonzero(clean)
    return np.asarray(np.sort(rows[np.argsort(-means[rows], kind="stable")][:MOST_DONORS]), dtype=np.int64)


def _own_sale(panel: Panel, window: Window) -> Bools:
    """In a sale on the window's days, or near enough to be in its dip or to wait for it."""
    days = np.flatnonzero(window.during)
    if not len(days):
        return np.zeros(len(panel.keys), dtype=bool)
    near = slice(max(int(days[0]) - POST_DAYS, 0), int(days[-1]) + WAIT_DAYS + 1)
    return np.asarray(panel.on_sale[:, near].any(axis=1))


def _moved(panel: Panel, offers: pd.DataFrame, products: pd.DataFrame, warehouses: dict[str, str]) -> Bools:
    """Moved by the sale: by its stock pool, by customers it turned away, by sharing a category or brand with it."""
    sku, region = _keys(panel)
    own = sku.isin(offers["sku_id"]).to_numpy()
    pools = {warehouses.get(r, r) for r in offers["region_id"]}
    pooled = np.array([warehouses.get(r, r) in pools for r in region], dtype=bool)
    turned_away = sku.isin(offers.loc[offers["is_sold_out"].astype(bool), "sku_id"]).to_numpy()
    moved = own & (pooled | turned_away)
    for name in ("brand", "category"):
        ties = set(zip(offers["region_id"], _kind(offers["sku_id"], products, name), strict=True))
        kinds = _kind(sku, products, name)
        moved |= np.array([kind is not None and (r, kind) in ties for r, kind in zip(region, kinds, strict=True)])
    return np.asarray(moved, dtype=bool)


def neighbours(panel: Panel, window: Window, offers: pd.DataFrame, products: pd.DataFrame) -> list[Neighbours]:
    """Outside SKUs tied to the sale, by region and shared brand, else shared category.

    An outside SKU that shares both counts as halo, whichever way it went. SKUs in a sale of their own on the days are
    left out: their change is not this sale's.
    """
    sku, region = _keys(panel)
    usable = ~sku.isin(offers["sku_id"]).to_numpy() & ~panel.on_sale[:, window.during].any(axis=1)
    usable &= panel.alive[:, window.before | window.during].all(axis=1)
    found: list[Neighbours] = []
    for name in ("brand", "category"):
        kinds = np.array(_kind(sku, products, name), dtype=object)
        ties: dict[tuple[str, str], list[int]] = {}
        for i, tie in enumerate(zip(offers["region_id"], _kind(offers["sku_id"], products, name), strict=True)):
            if tie[1] is not None:
                ties.setdefault((str(tie[0]), tie[1]), []).append(i)
        for (place, kind), cells in sorted(ties.items()):
            rows = np.flatnonzero(usable & (region == place).to_numpy() & (kinds == kind))
            if len(rows):
                usable[rows] = False
                found.append(Neighbours(name == "brand", rows, np.asarray(cells, dtype=np.int64)))
    return found


def _keys(panel: Panel) -> tuple[pd.Series, pd.Series]:
    sku, region = (pd.Series(panel.keys.get_level_values(k).astype(str)) for k in (0, 1))
    return sku, region


def _kind(skus: pd.Series, products: pd.DataFrame, name: str) -> list[str | None]:
    """Brand or category of each SKU, None where unknown: the unknown is tied to nothing."""
    known = products.drop_duplicates("sku_id").set_index("sku_id")[name].to_dict()
    found = [known.get(sku) for sku in skus]
    return [str(kind) if isinstance(kind, str) and kind else None for kind in found]
