"""Re-plan a running sale: what is left is moved between regions, and a few prices change, where that earns enough.

From a published plan and the minutes of the watch: what the sale so far says of its demand (`belief`), scenarios of
what is still to come, the best few changes (`repricing`, `moves`). First what the approved plan allows: units in stock
move between the plan's regions, and at most `max_price_changes` prices of the whole sale change along the lawful
ladder. Then what goes beyond, for a person to judge: further price changes, and units of the supply that the plan kept
back. Supply, space, budgets, minimum service and the ladder hold for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.allocation.belief import Seen, draw_demand, split_ahead
from ml.allocation.plan import SOLVED_ON, VALUED_ON
from ml.allocation.published import Published
from ml.allocation.repricing import Search, improve
from ml.allocation.rest import Decision, Rest, Scenarios
from ml.allocation.running import MINUTE, Running, Sent, read_running

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEAST_GAIN = 0.036  # of what the rest of the sale should earn with a SKU on average: what a SKU's change must add
TRANSFER_HOURS = 2.0  # until a unit that is moved can be sold in its new region
MOST_BEYOND = 3  # price changes beyond the limit that a person is asked about at once


@dataclass(frozen=True)
class Step:
    """What an earlier re-plan of the same sale did: prices and units since `at`.

    `prices` by SKU (index), shape (s,); `units` brought in (below 0: taken out), shape (s, r); `counted` price changes
    that used up the plan's limit.
    """

    at: pd.Timestamp
    prices: Ints
    units: Ints
    counted: int


@dataclass(frozen=True)
class Case:
    """What a re-plan is made from.

    Args:
        plan: the published plan.
        correlation: shares of the shocks' variance common to the sale and to a SKU.
        curves: expected share of demand in each hour of each SKU's sale, shape (s, hours).
        minutes: rows of `live/minutes`.
        steps: earlier re-plans, by time.
    """

    name: str
    plan: Published
    correlation: dict[str, float]
    curves: Floats
    minutes: pd.DataFrame
    steps: Sequence[Step] = ()


@dataclass(frozen=True)
class Options:
    """How to re-plan: see the constants; `changes` overrules the request's `max_price_changes`, `ask_beyond` also looks
    for what a person would have to decide on.
    """

    seed: int
    least_gain: float = LEAST_GAIN
    transfer_hours: float = TRANSFER_HOURS
    changes: int | None = None
    ask_beyond: bool = True


@dataclass(frozen=True)
class Replanned:
    """A re-plan: `within` what the approved plan allowed, `beyond` on top of it (the same where nothing goes beyond).

    `demand` scenarios of the whole sale given what was seen, shape (s, r, scenarios); `used` and `allowed` count price
    changes of the whole sale.
    """

    case: Case
    running: Running
    seen: Seen
    demand: Ints
    search: Search
    within: Decision
    beyond: Decision
    used: int
    allowed: int


def replan(case: Case, options: Options) -> Replanned:
    """The best changes found; the same case and options give the same answer.

    Raises:
        InputError: where the live figures cannot be used, the sale has not begun, or it is over.
    """
    plan = case.plan
    moved = [part for step in case.steps for part in _on_their_way(step, options.transfer_hours)]
    running = read_running(case.name, plan.offers, case.minutes, [Sent(plan.offers.begins, plan.units), *moved])
    transit = sum((part.units for part in moved if part.at > running.clock), np.zeros_like(plan.units))
    running = replace(running, left=running.left + np.maximum(transit, 0))
    clocked = _Clocked.of(case, running, options.transfer_hours)
    quantiles = plan.log_quantiles + np.log(np.maximum(clocked.whole, 1e-9))[:, :, None]
    demand, ahead = _scenarios(case, clocked, quantiles, options.seed)
    chosen_on, checked_on = ahead.only(slice(0, SOLVED_ON)), ahead.only(slice(SOLVED_ON, None))
    rest = _rest(case, running, clocked, (demand - ahead.soon - ahead.later)[:, :, :SOLVED_ON].mean(axis=2))
    search = Search(rest, chosen_on, checked_on, options.least_gain)
    used = sum(step.counted for step in case.steps)
    allowed = plan.inputs.request.max_price_changes if options.changes is None else options.changes
    within = improve(search, Decision.nothing(rest), max(allowed - used, 0))
    beyond = improve(search, within, MOST_BEYOND, supply=True) if options.ask_beyond else within
    return Replanned(case, running, clocked.seen, demand, search, within, beyond, used, allowed)


def _on_their_way(step: Step, hours: float) -> tuple[Sent, Sent]:
    """What an earlier re-plan took out at once, and brought in when it arrives: no stock reading before knows of it."""
    arrives = step.at + pd.Timedelta(hours=hours)
    return Sent(step.at, np.minimum(step.units, 0)), Sent(arrives, np.maximum(step.units, 0))


@dataclass(frozen=True)
class _Clocked:
    """Where the sale stands on its curve: `whole` demand of the path of prices over that at the plan's, shape (s, r);
    `later` share of it after moved units arrive; `now` prices of now, shape (s,).
    """

    seen: Seen
    whole: Floats
    later: Floats
    now: Ints

    @staticmethod
    def of(case: Case, running: Running, transfer_hours: float) -> _Clocked:
        plan, offers = case.plan, case.plan.offers
        length = int((offers.ends - offers.begins) / MINUTE)
        closed, arrive = running.minutes, running.minutes + round(transfer_hours * 60)
        pace = np.ones((*plan.units.shape, length))
        for step in case.steps:
            since = max(int((step.at - offers.begins) / MINUTE), 0)
            pace[:, :, since:] = plan.factors(step.prices, plan.planned)[:, :, None]
        for i in range(len(plan.units)):
            pace[i] *= _by_minute(case.curves[i], int((offers.starts_at[i] - offers.begins) / MINUTE), length)
        whole = pace.sum(axis=2)
        share = np.maximum(whole, 1e-12)
        stocked = (pace[:, :, :closed] * running.stocked).sum(axis=2) / share
        ahead = pace[:, :, closed:].sum(axis=2) / share
        now = case.steps[-1].prices if case.steps else plan.planned
        return _Clocked(Seen(running.sold, stocked, ahead), whole, pace[:, :, arrive:].sum(axis=2) / share, now)


def _by_minute(curve: Floats, start: int, length: int) -> Floats:
    """A curve of hours as shares of minutes of the whole sale, shape (length,)."""
    shares = np.zeros(length)
    own = np.repeat(curve / 60.0, 60)[: length - start]
    shares[start : start + len(own)] = own
    return shares


def _scenarios(case: Case, clocked: _Clocked, quantiles: Floats, seed: int) -> tuple[Ints, Scenarios]:
    """Demand of the whole sale given what was seen, and what of it is still to come."""
    whole = draw_demand(quantiles, clocked.seen, case.correlation, SOLVED_ON + VALUED_ON, seed)
    soon, later = split_ahead(whole, clocked.seen, clocked.later, seed)
    return whole, Scenarios(soon, later, np.random.default_rng([seed, 2]).random((2, *whole.shape)))


def _rest(case: Case, running: Running, clocked: _Clocked, wanted: Floats) -> Rest:
    plan, request = case.plan, case.plan.inputs.request
    skus, regions = plan.problem.skus, plan.problem.regions
    brought = plan.units.sum(axis=1) + sum((step.units.sum(axis=1) for step in case.steps), np.zeros(len(skus), int))
    unit_cost = np.array([sku.unit_cost for sku in skus])
    budget, stock = request.promotion_budget, request.stock_budget
    return Rest(
        prices=plan.prices,
        now=clocked.now,
        free=~plan.by_lot,
        factors=lambda profile: plan.factors(profile, clocked.now),
        sold=running.sold,
        left=running.left,
        wanted=wanted,
        salvage=np.array([sku.salvage_value for sku in skus]),
        unit_cost=unit_cost,
        list_price=np.array([sku.list_price for sku in skus]),
        shipping=np.array([region.shipping_cost for region in regions]),
        space=np.array([float(region.capacity_units) for region in regions]),
        service=np.array([region.min_service for region in regions]),
        promotion=np.inf if budget is None else float(budget) - float(discounts_given(case, running).sum()),
        unsent=np.maximum(np.array([sku.supply_units for sku in skus]) - brought, 0),
        stock=np.inf if stock is None else float(stock) - float((unit_cost * brought).sum()),
    )


def discounts_given(case: Case, running: Running) -> Floats:
    """What discounts cost so far, money by cell: at the deepest of the sale's prices, so never too little."""
    plan = case.plan
    paths = [plan.planned, *(step.prices for step in case.steps)]
    lowest = np.min([[own[a] for own, a in zip(plan.prices, p, strict=True)] for p in paths], axis=0)
    listed = np.array([sku.list_price for sku in plan.problem.skus])
    return np.asarray(np.maximum(listed - lowest, 0.0)[:, None] * running.sold, dtype=np.float64)


def moved_units(decision: Decision) -> Ints:
    """Units brought into each cell (below 0: taken out), unsent supply counted in, shape (s, r)."""
    return np.asarray(decision.into + decision.sent - decision.out)
