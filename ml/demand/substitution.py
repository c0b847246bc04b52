"""How the offers of one sale take customers from each other: a nested logit on top of the demand heads.

Nests are categories, the outside good (nobody's offer) stands alone. With reference units D_i (rivals at their
reference offers) in a market of M customers, shares are s_i = D_i / M and Berry's (1994) inversion gives the mean
utilities. Written relative to the reference it needs no utilities at all: where own utility moves by d_i, with
k_i = exp(d_i / (1 - sigma)) and s_i|g the share within the nest,

    s_i' / s_i = k_i G_g^-sigma / T,    G_g = sum_j s_j|g k_j,    T = s_0 + sum_h s_h G_h^(1 - sigma).

sigma is how close the offers of a nest are: 0 is the plain logit, towards 1 they only take from each other. The heads
say by how much an action moves an offer's own demand *on average over past sales*; divided by the average of
1 - sigma s_i|g - (1 - sigma) s_i over those sales (`reach`) that is ln k_i. An offer that rules its nest moves less.

`learn_substitution` finds sigma by two-stage least squares in Berry's form, ln D_i = controls + b ln p_i
+ sigma ln s_i|g + a constant of the market: the share within the nest holds the offer's own luck, so what rivals sold
before the sale and what they charge stand in for it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.demand.backbone import cross_fitted

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PRIOR, PRIOR_SD = 0.5, 0.25  # sigma where the data says nothing
LIMITS = (0.0, 0.9)
LEAST_F = 10.0
LEAST_SALES = 8  # with fewer, standard errors by sale say nothing
MOST_INSIDE = 0.8  # share of a market that offers can hold at the reference: looks may have been missed
UNSEEN = 5.0  # market over units where nobody's looks were recorded: offers then hardly compete across nests
MOST_PULL = 10.0  # a ladder that spans more is no offer any more; keeps sums of k exact
RIVALS = ["log_rivals_price", "rivals", "rival_discount"]  # features that hold what the instruments hold


@dataclass(frozen=True)
class PastOffers:
    """Past offers, one entry a row.

    `lift` log unconstrained demand over baseline; `log_ratio` log(price / list price); `base` baseline units and
    `looks` usual looks over the sale's hours; a market is a sale and a region.
    """

    lift: Floats
    log_ratio: Floats
    base: Floats
    looks: Floats
    sales: npt.NDArray[Any]
    regions: npt.NDArray[Any]


@dataclass(frozen=True)
class Substitution:
    """What past sales say of rivals.

    `reach` is the mean of 1 - sigma s_i|g - (1 - sigma) s_i over past offers, by category, `pooled_reach` over all;
    `draw` how many times a sale multiplies its offers' usual units, and so their looks.
    """

    sigma: float
    sigma_se: float
    first_stage_f: float
    refused: bool
    draw: float
    reach: dict[str, float]
    pooled_reach: float

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def market(self, category: npt.NDArray[Any], units: Floats, looks: Floats) -> Market:
        """The market of a sale at its reference.

        Args:
            category: of each SKU, shape (skus,).
            units: reference demand, shape (skus, regions).
            looks: usual looks over the sale's hours, same shape.
        """
        names, nest = np.unique(category.astype(str), return_inverse=True)
        floor = np.maximum(units, 1e-6)
        size = market_size(floor, looks, self.draw)
        by_nest = np.zeros((len(names), units.shape[1]))
        np.add.at(by_nest, nest, floor)
        reach = np.array([self.reach.get(str(c), self.pooled_reach) for c in category])
        return Market(
            nest.astype(np.int64), floor / by_nest[nest], by_nest / size, 1.0 - by_nest.sum(axis=0) / size,
            self.sigma, reach,
        )  # fmt: skip


@dataclass(frozen=True)
class Market:
    """Shares at the reference.

    `nest` of each SKU; `within` its nest (skus, regions); `share` of each nest in the market (nests, regions);
    `outside` of those who take no offer (regions,); `reach` by SKU (see `Substitution`).
    """

    nest: Ints
    within: Floats
    share: Floats
    outside: Floats
    sigma: float
    reach: Floats

    def pull(self, sku: int, effect: Floats) -> Floats:
        """k of an offer's actions from the heads' change of its log demand, shape as `effect` (actions, regions)."""
        return np.asarray(np.exp(np.clip(effect / self.reach[sku], -MOST_PULL, MOST_PULL)), dtype=np.float64)

    def crowding(self, pull: Floats) -> tuple[Floats, Floats]:
        """G by nest and region, and T by region, for one k a SKU and region (skus, regions)."""
        crowd = np.zeros_like(self.share)
        np.add.at(crowd, self.nest, self.within * pull)
        return crowd, self.outside + (self.share * crowd ** (1.0 - self.sigma)).sum(axis=0)

    def multipliers(self, pull: Floats) -> Floats:
        """Each offer's demand over its reference demand when all of them act, shape (skus, regions)."""
        crowd, total = self.crowding(pull)
        return np.asarray(pull * crowd[self.nest] ** -self.sigma / total, dtype=np.float64)

    def move(self, sku: int, own: Floats, pull: Floats) -> Move:
        """What every action of one offer does to all offers.

        Args:
            own: k of the offer's actions, shape (actions, regions).
            pull: k of all offers before, shape (skus, regions).
        """
        crowd, total = self.crowding(pull)
        mine, power = self.nest[sku], 1.0 - self.sigma
        moved = crowd[mine] + self.within[sku] * (own - pull[sku])
        changed = total + self.share[mine] * (moved**power - crowd[mine] ** power)
        other_nests = total / changed
        same_nest = (moved / crowd[mine]) ** -self.sigma * other_nests
        return Move(self.multipliers(pull), own * moved**-self.sigma / changed, same_nest, other_nests)


@dataclass(frozen=True)
class Move:
    """Demand over reference demand when one offer takes one of its actions.

    `before` of all offers (skus, regions); `own` of the offer (actions, regions); its rivals' is `before` times
    `same_nest` or `other_nests` (actions, regions).
    """

    before: Floats
    own: Floats
    same_nest: Floats
    other_nests: Floats


def market_size(units: Floats, looks: Floats, draw: float) -> Floats:
    """Customers of a sale by region, shape (regions,): those who would look at its offers.

    A sale draws looks as it draws units: usual looks x `draw`. Offers without recorded looks are counted with the
    looks per unit of the others; a region without any gets `UNSEEN` x units.

    Args:
        units, looks: shape (skus, regions).
    """
    seen = looks > 0
    total, covered = units.sum(axis=0), np.where(seen, units, 0.0).sum(axis=0)
    whole = draw * looks.sum(axis=0) * total / np.where(covered > 0, covered, 1.0)
    size = np.where(covered > 0, whole, UNSEEN * total)
    return np.asarray(np.maximum(size, total / MOST_INSIDE), dtype=np.float64)


def learn_substitution(controls: pd.DataFrame, past: PastOffers, categorical: list[str]) -> Substitution:
    """Sigma and what goes with it from past offers.

    Args:
        controls: what was known at planning besides the price, one row an offer; `category` names the nest.
        past: the offers.
        categorical: names of categorical controls.
    """
    market = pd.factorize(pd.MultiIndex.from_arrays([past.sales, past.regions]))[0]
    category = controls["category"].astype(str).to_numpy()
    nest = pd.factorize(pd.MultiIndex.from_arrays([market, category]))[0]
    demand = past.base * np.exp(past.lift)
    within = demand / _total(demand, nest)
    found = _two_stage(_freed(controls.drop(columns=RIVALS, errors="ignore"), past, nest, market, within, categorical))
    draw = float(demand.sum() / past.base.sum())
    looks, total = _total(past.looks, market), _total(demand, market)
    size = np.maximum(np.where(looks > 0, draw * looks, UNSEEN * total), total / MOST_INSIDE)
    reach = 1.0 - found.sigma * within - (1.0 - found.sigma) * demand / size
    by_category = {str(c): float(reach[category == c].mean()) for c in np.unique(category)}
    return Substitution(found.sigma, found.se, found.f, found.refused, draw, by_category, float(reach.mean()))


@dataclass(frozen=True)
class _Freed:
    """Residuals: demand, own price, share within the nest, instruments (rows, instruments), and each row's sale."""

    demand: Floats
    price: Floats
    share: Floats
    instruments: Floats
    sales: npt.NDArray[Any]


@dataclass(frozen=True)
class _Estimate:
    sigma: float
    se: float
    f: float
    refused: bool


def _freed(
    controls: pd.DataFrame, past: PastOffers, nest: Ints, market: Ints, within: Floats, categorical: list[str]
) -> _Freed:
    """Everything freed of the controls, sale by sale out of fold, and of what a whole market shares.

    Instruments: the share of the nest that usual sales would give, and the rivals' prices weighted by it.
    """
    usual = past.base / _total(past.base, nest)
    dearer = _total(usual * past.log_ratio, nest) - usual * past.log_ratio

    def free(values: Floats) -> Floats:
        left = values - cross_fitted(controls, values, past.sales, categorical)
        return np.asarray(left - _total(left, market) / _total(np.ones(len(left)), market))

    instruments = np.column_stack([free(np.log(usual)), free(dearer)])
    return _Freed(free(past.lift), free(past.log_ratio), free(np.log(within)), instruments, past.sales)


def _two_stage(freed: _Freed) -> _Estimate:
    """2SLS of demand on the share within the nest, own price held; standard errors and F by sale."""
    refused = _Estimate(PRIOR, PRIOR_SD, 0.0, True)
    z = _without(freed.price, freed.instruments)
    y, w = _without(freed.price, freed.demand), _without(freed.price, freed.share)
    if len(np.unique(freed.sales)) < LEAST_SALES or np.linalg.matrix_rank(z) < z.shape[1]:
        return refused
    bread = np.linalg.inv(z.T @ z)
    first = bread @ (z.T @ w)
    scores = pd.DataFrame(z * (w - z @ first)[:, None]).groupby(freed.sales).sum().to_numpy()
    f = float(first @ np.linalg.solve(bread @ (scores.T @ scores) @ bread, first)) / len(first)
    if f < LEAST_F:
        return _Estimate(PRIOR, PRIOR_SD, f, True)
    fitted = z @ first
    slope = float(fitted @ y / (fitted @ w))
    error = pd.Series(fitted * (y - slope * w)).groupby(freed.sales).sum().to_numpy()
    se = float(np.sqrt((error**2).sum()) / abs(fitted @ w))
    weight = 1.0 / max(se, 1e-6) ** 2
    sigma = (weight * slope + PRIOR / PRIOR_SD**2) / (weight + 1.0 / PRIOR_SD**2)
    return _Estimate(float(np.clip(sigma, *LIMITS)), se, f, False)


def _without(price: Floats, values: Floats) -> Floats:
    """Values less what own price explains of them."""
    power = float(price @ price)
    if power <= 0:
        return values
    along = price @ values / power
    return np.asarray(values - (np.outer(price, along) if values.ndim == 2 else price * along))


def _total(values: Floats, group: Ints) -> Floats:
    """Sum over each row's group, shape (rows,)."""
    return np.asarray(np.bincount(group, values)[group], dtype=np.float64)


def from_notes(notes: dict[str, Any]) -> Substitution | None:
    """What a model's notes hold of it; None for a model fitted before there was any."""
    found = notes.get("substitution")
    return None if found is None else Substitution(**found)
