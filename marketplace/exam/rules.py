"""What shops do without a model: units by rule, at the manager's prices, cut down until every limit holds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.stats import norm

from marketplace.choice import Floats, Ints
from marketplace.exam.table import Sale, prices_of

MARK_UP = 1.1
HABIT = 8.0  # times the usual units of a day, where a cell was in no sale yet
LEAST_SALES = 2


def last_sale(sale: Sale, asked: pd.DataFrame, past: pd.DataFrame) -> Floats:
    """Last sale's units and a tenth more; where there was none, a multiple of the usual day."""
    return np.asarray(_cells(_or_habit(asked, "last_sale_units"), sale) * MARK_UP, dtype=np.float64)


def proportional(sale: Sale, asked: pd.DataFrame, past: pd.DataFrame) -> Floats:
    """The whole stock budget, spread in proportion to the mean units of past sales."""
    history = _cells(_or_habit(asked, "mean_sale_units"), sale)
    spent = float((history * sale.cost[:, None]).sum())
    return np.asarray(history * sale.stock_budget / max(spent, 1.0), dtype=np.float64)


def newsvendor(sale: Sale, asked: pd.DataFrame, past: pd.DataFrame) -> Floats:
    """The critical fractile of past demand, corrected for stock-outs (normal; spread pooled over all cells)."""
    known = past.groupby(["sku_id", "region_id"])["demand"].agg(["mean", "std", "size"])
    enough = known[known["size"] >= LEAST_SALES]
    spread = float((enough["std"] / enough["mean"].clip(lower=1.0)).median()) if len(enough) else 0.6
    index = pd.MultiIndex.from_frame(asked[["sku_id", "region_id"]])
    mean = pd.Series(known["mean"].reindex(index).to_numpy(), asked.index).fillna(_habit(asked))
    share = 1.0 - sale.holding / (prices_of(sale.managers()) - sale.salvage)[:, None]
    fractile = norm.ppf(np.clip(share, 0.02, 0.98))
    return np.asarray(np.maximum(_cells(mean, sale) * (1.0 + spread * fractile), 0.0), dtype=np.float64)


RULES: dict[str, Callable[[Sale, pd.DataFrame, pd.DataFrame], Floats]] = {
    "last_sale": last_sale,
    "proportional": proportional,
    "newsvendor": newsvendor,
}


def within_limits(sale: Sale, wish: Floats) -> Ints:
    """Whole units cut down in proportion until supply, space and both budgets hold; every unit counts as sold."""
    units = wish * np.minimum(1.0, sale.supply / np.maximum(wish.sum(axis=1), 1e-9))[:, None]
    units = units * np.minimum(1.0, sale.space / np.maximum(units.sum(axis=0), 1e-9))[None, :]
    for money, budget in ((sale.cost, sale.stock_budget), (sale.discounts(sale.managers()), sale.promotion_budget)):
        units = units * min(1.0, budget / max(float((units * money[:, None]).sum()), 1e-9))
    return np.asarray(np.floor(units + 1e-9), dtype=np.int64)


def _or_habit(asked: pd.DataFrame, column: str) -> pd.Series:
    """A column of units; a cell that was in no sale yet has none (pandas then holds whole numbers alone)."""
    return asked[column].astype("float64").fillna(_habit(asked))


def _habit(asked: pd.DataFrame) -> pd.Series:
    return asked["base_units_28d"] * HABIT * asked["duration_hours"] / 24.0


def _cells(values: pd.Series, sale: Sale) -> Floats:
    """Values of the request's rows, by SKU and region."""
    return np.asarray(values.to_numpy(dtype=np.float64).reshape(len(sale.actions), len(sale.space)))
