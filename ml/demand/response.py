"""How demand answers a price: one elasticity per category, by double machine learning in its plainest form.

The manager lowers prices less where demand is strong, so a plain regression of demand on price is biased. Both
log demand and log price are first freed, sale by sale out of fold, of what was known at planning (Robinson 1988;
Chernozhukov et al. 2018); the slope of the residuals is the elasticity. Category slopes are drawn to the pooled
one by ridge. Where the price hardly moves once its reasons are known (`movement_left` < 10 sales' worth) no slope is
trusted and the prior stands.

A manager who knows more than the features hold still biases that slope. Where unit costs moved prices, or lots drew
them, `ml.demand.instruments` gives unbiased slopes; the pooled slope is then all of them by precision, and the
categories, whose differences the observational slopes tell best, move with it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.demand.backbone import cross_fitted
from ml.demand.instruments import Evidence, Moves, clustered, combined, from_costs, from_lots

Floats = npt.NDArray[np.float64]

PRIOR = -1.5  # elasticity assumed where the data says nothing
PRIOR_SD = 1.0  # of the pooled slope around PRIOR
SPREAD_SD = 0.5  # of a category's slope around the pooled one
LEAST_MOVEMENT = 10.0  # sales' worth of price movement without a known reason, under which no slope is trusted
LIMITS = (-6.0, -0.05)  # demand never rises with its own price


@dataclass(frozen=True)
class Response:
    """Elasticities: d log demand / d log price, by category, with the pooled one for others.

    `observational` is the pooled slope before other evidence; `evidence` that evidence by name: `costs`, `lots`, each
    with the F of a true first stage. `first_stage_f` is none: it is `movement_left`, under the name that stored models
    have it by.
    """

    pooled: float
    by_category: dict[str, float]
    pooled_se: float
    first_stage_f: float
    refused: bool
    observational: float | None = None
    evidence: dict[str, dict[str, float]] = field(default_factory=dict)

    def log_effect(self, category: npt.NDArray[Any], log_ratio: Floats) -> Floats:
        """Change of log demand at `log_ratio` = log(price / list price), shape (rows,)."""
        slope = np.array([self.by_category.get(str(c), self.pooled) for c in category])
        return np.asarray(slope * log_ratio, dtype=np.float64)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def learn_response(
    controls: pd.DataFrame,
    log_lift: Floats,
    log_ratio: Floats,
    sales: npt.NDArray[Any],
    categorical: list[str],
    moves: Moves | None = None,
) -> Response:
    """Elasticities from past offers.

    Args:
        controls: what was known at planning besides the price, one row an offer.
        log_lift: log unconstrained demand over baseline, shape (rows,).
        log_ratio: log(offer price / list price), shape (rows,).
        sales: sale of each row; folds and standard errors respect it.
        categorical: names of categorical controls; `category` must be one.
        moves: what moved the prices besides expected demand, where it is known.
    """
    y = log_lift - cross_fitted(controls, log_lift, sales, categorical)
    p = log_ratio - cross_fitted(controls, log_ratio, sales, categorical)
    strength = movement_left(p, log_ratio, sales)
    found = _other_evidence(controls, log_lift, y, log_ratio, sales, categorical, moves)
    if strength < LEAST_MOVEMENT:
        pooled, se = combined(PRIOR, PRIOR_SD, list(found.values()), biased=False)
        return Response(_limited(pooled), {}, se, strength, not found, PRIOR, _words(found))
    category = controls["category"].astype(str).to_numpy()
    noise = float(np.var(y - p * (p @ y) / (p @ p)))
    pooled = _shrunk(p, y, noise, PRIOR, PRIOR_SD)
    # A slope that is given up as biased must not leave a noisy one alone: the prior has its say again.
    others = [*found.values(), Evidence(PRIOR, PRIOR_SD, 0.0, 0)] if found else []
    best, se = combined(pooled, _clustered_se(p, y - pooled * p, sales), others)
    slopes = {
        str(c): _limited(_shrunk(p[category == c], y[category == c], noise, pooled, SPREAD_SD) + best - pooled)
        for c in np.unique(category)
    }
    return Response(_limited(best), slopes, se, strength, False, pooled, _words(found))


def _other_evidence(
    controls: pd.DataFrame, lift: Floats, freed: Floats, log_ratio: Floats, sales: npt.NDArray[Any],
    categorical: list[str], moves: Moves | None,
) -> dict[str, Evidence]:  # fmt: skip
    """Unbiased slopes by name, those that can be had."""
    if moves is None:
        return {}
    tried = {
        "costs": from_costs(controls, lift, log_ratio, sales, moves, categorical),
        "lots": from_lots(freed, log_ratio, sales, moves),
    }
    return {name: evidence for name, evidence in tried.items() if evidence is not None}


def _words(found: dict[str, Evidence]) -> dict[str, dict[str, float]]:
    return {name: asdict(evidence) for name, evidence in found.items()}


def _shrunk(p: Floats, y: Floats, noise: float, towards: float, sd: float) -> float:
    """Posterior mean of a slope under a normal prior (ridge towards a point)."""
    precision = float(p @ p) / noise
    return float((precision * _slope(p, y) + towards / sd**2) / (precision + 1.0 / sd**2)) if precision else towards


def _slope(p: Floats, y: Floats) -> float:
    return float(p @ y / (p @ p))


def _limited(slope: float) -> float:
    return float(np.clip(slope, *LIMITS))


def movement_left(residual: Floats, price: Floats, sales: npt.NDArray[Any]) -> float:
    """How many sales' worth of price movement no control explains: sales x share of the variance that is left.

    No F statistic: partialling out has no instrument, the price's own residual is the regressor, and the F of a price
    on its residual is enormous even where next to nothing is left. The sales count, not their rows, since a sale's
    prices are set together: 10 of 40 sales' worth is a quarter of the variance.

    Args:
        residual: log price ratio less its out-of-fold prediction from the controls, shape (rows,).
        price: log price ratio, shape (rows,).
        sales: sale of each row.
    """
    total = float(np.var(price))
    return len(np.unique(sales)) * float(np.var(residual)) / total if total > 0 else 0.0


def _clustered_se(p: Floats, error: Floats, sales: npt.NDArray[Any]) -> float:
    """Standard error of the pooled slope, rows of one sale correlated."""
    return clustered(p * error, sales) / float(p @ p)
