"""Prices by lot: near-equal prices of a plan are drawn at random, so that the next scoring sees prices nobody chose.

A price set by a planner or by an optimiser follows what was expected of the demand, so its effect cannot be told from
the expectation's. Where the lot decides between the best price and its neighbour on the ladder, it can. What that may
cost is a ceiling of the request, in expected profit; which SKUs take part does not depend on the lot, so that
`propensity` is the chance that either arm had.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from flashsale.errors import InputError
from ml.allocation.joint import JointSale, profile_of
from ml.allocation.problem import Problem
from ml.allocation.solve import Solution, best_response, replan

BEST, NEIGHBOUR = "best_price", "neighbour_price"
PROPENSITY = 0.5
CAUTION = 0.5  # share of the ceiling that the priced losses may take: they are bounds from below on what is lost


@dataclass(frozen=True)
class Experiment:
    """What was drawn: by SKU index its arm and the price of the other arm; `cost` is expected profit given up."""

    arms: dict[int, str]
    other_price: dict[int, float]
    cost: float


NO_EXPERIMENT = Experiment({}, {}, 0.0)


def by_lot(
    problem: Problem, solution: Solution, ceiling: float, seed: int, request_id: str, whole: JointSale | None = None
) -> tuple[Solution, Experiment]:
    """The plan with some SKUs' prices drawn between the best and its neighbour.

    A draw stands only where its mirror image (the other arm for every SKU) could be afforded too. Dropping dear draws
    alone would keep the arms that happened to be cheap; so, either arm of a SKU that takes part has the same chance.

    Args:
        ceiling: largest share of the plan's expected profit that all draws together may cost; 0 is no experiment.
        whole: the sale whose offers compete: then what a SKU's price does to its rivals is part of what it costs.
    """
    none = solution, NO_EXPERIMENT
    allowed = ceiling * max(solution.value, 0.0)
    rng = np.random.default_rng([seed, zlib.crc32(request_id.encode())])
    joining = _joining(problem, solution, CAUTION * allowed, rng, _own_worth(problem, solution, whole))
    if not joining:
        return none
    flipped = {i for i in joining if rng.random() < PROPENSITY}
    drawn, mirrored = (
        _drawn(problem, solution, {i: joining[i] for i in some}, whole) for some in (flipped, joining.keys() - flipped)
    )
    if drawn is None or mirrored is None or solution.value - min(drawn.value, mirrored.value) > allowed:
        return none
    arms = {i: NEIGHBOUR if i in flipped else BEST for i in joining}
    other = {i: solution.choices[i].action if i in flipped else a for i, a in joining.items()}
    prices = {i: problem.skus[i].actions[a].price for i, a in other.items()}
    return drawn, Experiment(arms, prices, max(solution.value - drawn.value, 0.0))


def _drawn(problem: Problem, solution: Solution, flipped: dict[int, int], whole: JointSale | None) -> Solution | None:
    """The plan with these SKUs' actions, beside the bound of the best plan; None where minimum service does not fit."""
    if not flipped:
        return solution
    actions = [flipped.get(i, c.action) for i, c in enumerate(solution.choices)]
    if whole is None:
        return replan(problem, solution, actions)
    try:
        drawn = whole.units_at(np.array(actions))
    except InputError:
        return None
    return replace(drawn, bound=max(solution.bound, drawn.value))


def _own_worth(problem: Problem, solution: Solution, whole: JointSale | None) -> Callable[[int, int], float]:
    """What a SKU's action is worth at the plan's prices of the limits, the others staying at theirs."""
    if whole is None:
        return lambda i, a: best_response(problem, i, solution.multipliers, a)[1]
    profile, values = profile_of(solution), whole.values(solution.multipliers)
    known: dict[int, npt.NDArray[np.float64]] = {}

    def worth(i: int, a: int) -> float:
        if i not in known:
            known[i] = values(i, profile)
        return float(known[i][a])

    return worth


def _joining(
    problem: Problem, solution: Solution, allowed: float, rng: np.random.Generator, worth: Callable[[int, int], float]
) -> dict[int, int]:
    """SKUs that take part, drawn in random order while the losses of all of them fit, each with its other action."""
    joining: dict[int, int] = {}
    left = allowed
    for i in rng.permutation(len(problem.skus)).tolist():
        found = _neighbour(problem, solution, i, worth)
        if found is not None and found[1] <= left:
            joining[i] = found[0]
            left -= found[1]
    return dict(sorted(joining.items()))


def _neighbour(
    problem: Problem, solution: Solution, i: int, worth: Callable[[int, int], float]
) -> tuple[int, float] | None:
    """The cheaper of the next prices up and down (same promotion and start), and what it costs at the plan's prices."""
    choice, actions = solution.choices[i], problem.skus[i].actions
    if not choice.units.any():
        return None
    now = actions[choice.action]
    like = [a for a, x in enumerate(actions) if (x.promo_type, x.starts_at) == (now.promo_type, now.starts_at)]
    below = [a for a in like if actions[a].price < now.price]
    above = [a for a in like if actions[a].price > now.price]
    near = [max(below, key=lambda a: actions[a].price)] if below else []
    near += [min(above, key=lambda a: actions[a].price)] if above else []
    losses = [(max(worth(i, choice.action) - worth(i, a), 0.0), a) for a in near]
    losses = [(loss, a) for loss, a in losses if np.isfinite(loss)]
    if not losses:
        return None
    loss, action = min(losses)
    return action, loss
