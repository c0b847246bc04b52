"""Fitting the demand model: a ridge core, LightGBM quantile heads on what it leaves, conformal calibration.

The core carries what is near linear in logs (lags, text, timing); boosting alone was worse on the few thousand
rows a shop has. The heads learn quantiles of the core's out-of-fold errors; the corrections that make them cover
are taken from the newest sales, which the calibrating fit has not seen (split conformal, Romano et al. 2019), and
kept for the fit on all sales. Offers of a SKU with a past sale in the region and those without are corrected apart
(Mondrian conformal, Vovk et al. 2005): nothing was ever sold of the latter, and they scatter more.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.demand import features as ft
from ml.demand.backbone import cross_fitted, fit_ridge
from ml.demand.heads import QUANTILES, LevelHeads, group_of
from ml.demand.instruments import Moves
from ml.demand.response import Response, learn_response
from ml.demand.substitution import PastOffers, learn_substitution

Floats = npt.NDArray[np.float64]

CALIBRATION_SHARE = 0.25  # newest sales kept for calibration
SURE = 2.0  # standard errors that a drift of the newest sales must exceed to be believed at all
LEAST_ROWS = 100  # held-out rows a group needs for its own p10 and p90: ten of them lie beyond each
LEAST_GROUP_SALES = 4  # and in so many sales, since rows of one sale rise and fall together and fewer would be luck
LEAST_SALES = 8  # below this nothing is held out and the shifts stay zero
ROUNDS = 25  # of a few thousand rows that share their sales' surges, more rounds learn noise (docs/decisions.md)
PARAMETERS: dict[str, Any] = {
    "objective": "quantile", "learning_rate": 0.05, "num_leaves": 7, "min_data_in_leaf": 40,
    "feature_fraction": 0.5, "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 5.0, "verbose": -1,
    "num_threads": 1, "deterministic": True, "force_row_wise": True,
}  # fmt: skip


@dataclass(frozen=True)
class Training:
    """Past offers: features, targets, the sale and region of each row, looks at its page, what moved its price."""

    frame: pd.DataFrame
    lift: Floats
    log_ratio: Floats
    sales: npt.NDArray[Any]
    order: npt.NDArray[np.int64]  # position of the row's sale in time
    regions: npt.NDArray[Any]
    looks: Floats
    moves: Moves


@dataclass(frozen=True)
class Shifts:
    """Corrections in log units by quantile: of all rows, and of the groups that had enough for their own."""

    pooled: dict[str, float]
    by_group: dict[str, dict[str, float]] = field(default_factory=dict)


def training_set(rows: pd.DataFrame, demand: Floats) -> Training:
    """Features and targets of past offers.

    Args:
        rows: `feat_demand` rows of kind `campaign`.
        demand: unconstrained units, shape (rows,).
    """
    past = ft.past_cells(rows, demand)
    base, lift = (past[name].to_numpy(dtype=np.float64) for name in ("base_units", "lift"))
    frame = ft.design(rows, past, base)
    frame["base_units"], frame["log_price_ratio"] = base, ft.log_price_ratio(rows)
    starts = pd.to_datetime(rows.groupby("campaign_id")["starts_at"].min(), utc=True)
    rank = starts.sort_values(kind="stable").index
    order = pd.Index(rank).get_indexer(rows["campaign_id"])
    return Training(
        frame, lift, ft.log_price_ratio(rows), rows["campaign_id"].to_numpy(), order.astype(np.int64),
        rows["region_id"].to_numpy(), ft.usual_looks(rows), ft.price_moves(rows),
    )  # fmt: skip


def fit(data: Training, *, with_text: bool, seed: int) -> LevelHeads:
    """Fit the model on past offers; the same data and seed give the same model."""
    columns = ft.feature_names(with_text)
    sales = len(np.unique(data.order))
    shifts = Shifts(dict.fromkeys(QUANTILES, 0.0))
    held_out = data.order >= np.quantile(np.unique(data.order), 1.0 - CALIBRATION_SHARE)
    if sales >= LEAST_SALES:
        early = _fit_once(_subset(data, ~held_out), columns, shifts, seed)
        shifts = _conformal(early, _subset(data, held_out))
    return _fit_once(data, columns, shifts, seed)


def _subset(data: Training, keep: npt.NDArray[np.bool_]) -> Training:
    arrays = {part.name: getattr(data, part.name)[keep] for part in fields(data) if part.name != "moves"}
    moves = {part.name: getattr(data.moves, part.name)[keep] for part in fields(data.moves)}
    return Training(**arrays, moves=Moves(**moves))


def _fit_once(data: Training, columns: list[str], shifts: Shifts, seed: int) -> LevelHeads:
    import lightgbm

    frame = data.frame[columns]
    response = learn_response(frame, data.lift, data.log_ratio, data.sales, ft.CATEGORICAL, data.moves)
    target = data.lift - response.log_effect(frame["category"].to_numpy(), data.log_ratio)
    ridge = fit_ridge(frame, target, data.sales, ft.CATEGORICAL)
    left = target - cross_fitted(frame, target, data.sales, ft.CATEGORICAL)
    coded = ridge.encoder.coded(frame)
    trees = {}
    for name, alpha in QUANTILES.items():
        matrix = lightgbm.Dataset(coded, left, params={"verbose": -1}, free_raw_data=False)
        trees[name] = lightgbm.train({**PARAMETERS, "alpha": alpha, "seed": seed}, matrix, ROUNDS)
    base = data.frame["base_units"].to_numpy(np.float64)
    past = PastOffers(data.lift, data.log_ratio, base, data.looks, data.sales, data.regions)
    notes = {
        "response": response.to_json(),
        "substitution": learn_substitution(frame, past, ft.CATEGORICAL).to_json(),
        "correlation": correlation(left, data),
        "rows": len(target),
    }
    return LevelHeads(ridge, trees, response.by_category, response.pooled, shifts.pooled, notes, shifts.by_group)


def _conformal(heads: LevelHeads, data: Training) -> Shifts:
    """Corrections so that each quantile covers its share of the held-out rows, by group where they suffice."""
    level = heads.level(data.frame)
    truth = data.lift - heads.log_effect(data.frame["category"].to_numpy(), data.log_ratio)
    left, group = truth[:, None] - level, group_of(data.frame)
    drift = believed_drift(left[:, 1], data.sales)
    return Shifts(
        _around(left, drift),
        {
            str(name): _around(left[group == name], drift)
            for name in np.unique(group)
            if (group == name).sum() >= LEAST_ROWS and len(np.unique(data.sales[group == name])) >= LEAST_GROUP_SALES
        },
    )


def _around(left: Floats, drift: float) -> dict[str, float]:
    """Shifts by quantile from errors (rows, 3): p10's and p90's distances from the rows' own median as they are.

    The median's own error goes only as far as it is believed, and so alike for all groups.
    """
    shifts = {name: float(np.quantile(left[:, at], alpha)) for at, (name, alpha) in enumerate(QUANTILES.items())}
    beyond = drift - shifts["p50"]
    return {name: shift + beyond for name, shift in shifts.items()}


def believed_drift(errors: Floats, sales: npt.NDArray[Any]) -> float:
    """Median error of the rows, as far as it stands out from the scatter of their sales' medians.

    A handful of sales rise or fall together, and to pass that on would be to learn luck: what lies within `SURE`
    standard errors is taken as none, more is shrunk as by James and Stein (1961).
    """
    by_sale = pd.Series(errors).groupby(sales).median()
    drift = float(np.median(errors))
    chance = SURE**2 * float(by_sale.var(ddof=1)) / len(by_sale) if len(by_sale) > 1 else np.inf
    return drift * (1.0 - chance / drift**2) if drift**2 > chance else 0.0


def correlation(left: Floats, data: Training) -> dict[str, float]:
    """Shares of the error's variance common to a whole sale, and to a SKU's regions in a sale.

    Scenarios draw their shocks with these shares: regions of one SKU rise and fall together.
    """
    table = pd.DataFrame({"e": left - left.mean(), "sale": data.sales})
    # A SKU in a sale shares every non-regional feature; its list price and age identify it within the sale.
    table["sku"] = pd.factorize(
        pd.MultiIndex.from_arrays([data.sales, data.frame["log_list_price"], data.frame["log_age"]])
    )[0]
    variance = float((table.e**2).mean())
    if variance <= 0:
        return {"sale": 0.0, "sku": 0.0}
    sku_pairs, sale_pairs = _pair_product(table, "sku"), _pair_product(table, "sale")
    sale = float(np.clip(sale_pairs / variance, 0.0, 0.9))
    return {"sale": sale, "sku": float(np.clip(sku_pairs / variance - sale, 0.0, 0.95 - sale))}


def _pair_product(table: pd.DataFrame, key: str) -> float:
    """Mean product of errors over all pairs of rows in one group."""
    grouped = table.groupby(key)["e"].agg(["sum", "size"])
    squares = (table.e**2).groupby(table[key]).sum()
    pairs = float((grouped["size"] * (grouped["size"] - 1)).sum())
    return float((grouped["sum"] ** 2 - squares).sum() / pairs) if pairs else 0.0


def response_of(heads: LevelHeads) -> Response:
    """The response head's record: elasticities, standard error, price movement left."""
    return Response(**heads.notes["response"])
