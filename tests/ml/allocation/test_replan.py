"""A re-plan of small sales made by hand: what it moves and changes, what it must not, and its audit."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from flashsale.decision_tables import REPLANS
from flashsale.replan_limits import replan_limits
from ml.allocation.moves import LEAST_PER_UNIT, best_moves
from ml.allocation.replan import Options, Replanned, Step, moved_units, replan
from ml.allocation.replan_rows import replan_rows, totals
from ml.allocation.rest import Decision, Scenarios, earnings, expected_sales
from ml.allocation.store import decimals
from tests.ml.allocation.small_sale import HOURS, PRICES, REGIONS, START, Made, minutes_of, small_sale

OPTIONS = Options(1)


def _replan(
    made: Made, hours: float, sold: Any, *, options: Options = OPTIONS, out_at: Any = None, steps: Any = ()
) -> Replanned:
    return replan(made.case(minutes_of(made, hours, sold, sold_out_at=out_at), steps), options)


def _price_changes(found: Replanned, decision: Decision) -> int:
    return int((decision.profile != found.search.rest.now).sum())


def _still(found: Replanned) -> bool:
    return not _price_changes(found, found.within) and not moved_units(found.within).any()


@pytest.mark.parametrize(
    ("elasticity", "units", "hours"),
    # by half-time a large safety stock is known not to be needed, so only the smaller ones are left alone then
    [
        *[(e, u, h) for e, u in ((2.0, 44), (2.0, 50), (3.0, 40), (3.0, 44)) for h in (3, 6)],
        (2.0, 44, 12),
        (3.0, 40, 12),
    ],
)
def test_a_sale_that_runs_as_foreseen_is_left_alone(elasticity: float, units: int, hours: int) -> None:
    """The plan's median comes to pass, and its units and prices were the best for it."""
    made = small_sale(np.full((3, 3), 40.0), np.full((3, 3), units), elasticity=elasticity)
    found = _replan(made, hours, np.full((3, 3), 40 * hours // HOURS))
    assert _still(found) and not _price_changes(found, found.beyond)
    assert set(replan_rows(found).change) == {"none"} and set(replan_rows(found).status) == {"unchanged"}


def test_units_go_from_where_nobody_buys_to_where_they_sell() -> None:
    made = small_sale([[40.0] * 3] * 2, np.full((2, 3), 40), changes=0)
    found = _replan(made, 6, [[25, 10, 2], [10, 10, 10]])
    moved = moved_units(found.within)
    assert moved[0, 0] > 5 and moved[0, 2] < -5 and not moved[1].any()
    assert (moved.sum(axis=1) == 0).all()
    assert (found.within.units(found.search.rest) >= 0).all()
    rows = replan_rows(found)
    rows = rows[rows.within_limits].set_index(["sku_id", "region_id"]).sort_index()
    assert rows.loc[("a", "east"), "expected_gain"] > 0 > rows.loc[("a", "west"), "expected_gain"]
    assert rows.expected_gain.sum() == pytest.approx(rows.replan_gain.iloc[0]) and rows.replan_gain.iloc[0] > 0
    assert rows.loc[("a", "east"), "explanation"].startswith("Bring ")
    assert "below the plan's" in rows.loc[("a", "west"), "explanation"]
    assert rows.replan_gain_low.iloc[0] < rows.replan_gain.iloc[0] < rows.replan_gain_high.iloc[0]


def test_a_moved_unit_sells_only_once_it_is_there() -> None:
    made = small_sale([[40.0] * 3], np.full((1, 3), 40), changes=0)
    minutes = (20, [[45, 30, 5]])
    near, far = (_replan(made, *minutes, options=Options(1, transfer_hours=h)) for h in (0.0, 3.5))
    assert moved_units(near.within)[0].max() > moved_units(far.within)[0].max()
    never = _replan(made, *minutes, options=Options(1, transfer_hours=4.0))
    assert not moved_units(never.within).any()


def test_demand_beyond_the_stock_raises_at_most_m_prices_and_a_person_is_asked_about_more() -> None:
    made = small_sale([[40.0] * 3] * 4, np.full((4, 3), 40), elasticity=1.5)
    found = _replan(made, 4, np.full((4, 3), 20))
    assert _price_changes(found, found.within) == 2
    assert set(found.search.rest.price(found.within.profile)) == {45.0, 50.0}
    assert _price_changes(found, found.beyond) == 4
    rows = replan_rows(found)
    beyond = rows[~rows.within_limits]
    assert set(beyond.sku_id) == {s for s, p in zip("abcd", found.within.profile, strict=True) if PRICES[p] == 45.0}
    assert set(beyond.status) == {"proposed"} and beyond.explanation.str.contains("a person decides").all()
    assert totals(found)["price_changes"] == totals(found)["beyond_price_changes"] == 2


def test_without_price_changes_no_price_changes() -> None:
    found = _replan(small_sale([[40.0] * 3] * 3, np.full((3, 3), 40), changes=0), 4, np.full((3, 3), 20))
    assert _price_changes(found, found.within) == 0 and _price_changes(found, found.beyond) > 0


def test_changes_of_earlier_re_plans_are_counted_and_their_prices_are_those_of_now() -> None:
    made = small_sale([[40.0] * 3] * 3, np.full((3, 3), 40), elasticity=1.5)
    raised = Step(START + pd.Timedelta(hours=2), np.array([2, 2, 1]), np.zeros((3, 3), dtype=int), 2)
    found = _replan(made, 4, np.full((3, 3), 20), steps=(raised,))
    assert _price_changes(found, found.within) == 0 and found.used == 2
    assert found.search.rest.price(found.search.rest.now).tolist() == [50.0, 50.0, 45.0]
    # the same units at a dearer price since hour 2 mean more demand than at the plan's
    alone = _replan(made, 4, np.full((3, 3), 20))
    whole = [x.demand[0, 0].mean() for x in (found, alone)]
    assert whole[0] < whole[1]  # of the dearer path; at the plan's price it is more:
    factor = (50 / 45) ** -1.5
    assert whole[0] / (1 / 12 + 11 / 12 * factor) > whole[1]


def test_a_price_by_lot_stays() -> None:
    made = small_sale([[40.0] * 3] * 2, np.full((2, 3), 40), elasticity=1.5, by_lot=[True, False])
    found = _replan(made, 4, np.full((2, 3), 20))
    assert found.beyond.profile[0] == found.search.rest.now[0] and found.within.profile[1] == 2


def test_slow_demand_lowers_a_price() -> None:
    made = small_sale([[40.0] * 3], np.full((1, 3), 60), elasticity=4.0)
    found = _replan(made, 8, np.full((1, 3), 8))
    assert found.search.rest.price(found.within.profile)[0] == 40.0
    assert replan_rows(found).explanation.str.contains("Lower the price from 45.00 to 40.00").all()


def test_a_promotion_budget_holds_a_price_up() -> None:
    """List 60: a unit at 45 costs 15 of the budget, at 40 it costs 20."""
    made = small_sale([[40.0] * 3], np.full((1, 3), 60), elasticity=4.0, promotion_budget=800)
    found = _replan(made, 8, np.full((1, 3), 8))
    assert _price_changes(found, found.beyond) == 0


def test_space_and_minimum_service_hold() -> None:
    hot = {"sold": [[25, 10, 2]], "units": np.full((1, 3), 40)}
    free = _replan(small_sale([[40.0] * 3], hot["units"], changes=0), 6, hot["sold"])
    tight = small_sale([[40.0] * 3], hot["units"], changes=0, regions={"east": {"capacity_units": 20}})
    found = _replan(tight, 6, hot["sold"])
    assert free.within.units(free.search.rest)[0, 0] > 20
    assert found.within.units(found.search.rest)[0, 0] == 20
    served = small_sale([[40.0] * 3], hot["units"], changes=0, regions={"west": {"min_service": 0.95}})
    kept = _replan(served, 6, hot["sold"])
    rest, after = kept.search.rest, expected_sales(kept.search.rest, kept.within, kept.search.chosen_on)
    wanted = rest.wanted + (kept.search.chosen_on.soon + kept.search.chosen_on.later).mean(axis=2)
    assert rest.sold[0, 2] + after[0, 2] >= 0.95 * wanted[0, 2] - 1e-6
    assert moved_units(kept.within)[0, 2] > moved_units(free.within)[0, 2]


def test_supply_that_was_kept_back_is_only_proposed_and_within_the_stock_budget() -> None:
    sku = {"a": {"supply_units": 200}}
    made = small_sale([[40.0] * 3], np.full((1, 3), 40), changes=0, skus=sku, stock_budget=20 * 130)
    found = _replan(made, 6, np.full((1, 3), 35))
    assert not found.within.sent.any() and found.beyond.sent.sum() == 10  # the budget buys 130 units
    rows = replan_rows(found)
    assert rows[~rows.within_limits].units_sent.sum() == 10
    assert rows[rows.units_sent > 0].explanation.str.contains("kept back").all()


def test_moves_are_the_best_of_all_of_few() -> None:
    """One SKU, few units, moves at once: every way of laying its units out is tried."""
    made = small_sale([[6.0, 6.0, 6.0]], [[2, 3, 6]], changes=0)
    found = _replan(made, 6, [[1, 3, 0]], options=Options(1, least_gain=0.0, transfer_hours=0.0))
    rest, drawn = found.search.rest, found.search.chosen_on
    ours = best_moves(rest, Decision.nothing(rest), drawn, np.ones(1, dtype=bool))
    price = float(rest.price(rest.now)[0])

    def worth(units: np.ndarray) -> float:
        gone = units - rest.left
        trial = Decision(rest.now, np.maximum(-gone, 0), np.maximum(gone, 0), np.zeros_like(gone))
        # a unit must bring a twentieth of its price on top of its cost
        return float(earnings(rest, trial, drawn).sum(axis=(0, 1)).mean()) - LEAST_PER_UNIT * price * trial.into.sum()

    total = int(rest.left.sum())
    ways = [np.array([w]) for w in itertools.product(range(total + 1), repeat=3) if sum(w) == total]
    assert worth(ours.units(rest)) == pytest.approx(max(worth(w) for w in ways), abs=1e-9)


def test_more_demand_at_a_lower_price_is_rounded_without_bias() -> None:
    rng = np.random.default_rng(0)
    soon = rng.poisson(1.3, (1, 1, 40_000))
    scenarios = Scenarios(soon, soon, rng.random((2, 1, 1, 40_000)))
    more = scenarios.at(np.full((1, 1), 1.17))[0]
    assert more.mean() == pytest.approx(1.17 * soon.mean(), rel=0.01) and (more >= soon).all()
    assert (scenarios.at(np.ones((1, 1)))[0] == soon).all()


def test_the_same_case_gives_the_same_rows() -> None:
    made = small_sale([[40.0] * 3] * 2, np.full((2, 3), 40))
    first, again = (replan_rows(_replan(made, 6, [[25, 10, 2], [18, 20, 22]])) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)


# -- The audit -----------------------------------------------------------------------------------------------------


def _faults(made: Made, rows: pd.DataFrame, earlier: pd.DataFrame | None = None) -> str:
    plan = pa.Table.from_pylist([
        {"sku_id": s, "region_id": r, "allocate_units": int(made.plan.units[i, k])}
        for i, s in enumerate(made.plan.offers.sku_ids) for k, r in enumerate(REGIONS)
    ])  # fmt: skip
    prices = dict.fromkeys(made.plan.offers.sku_ids, (60.0, 55.0))
    before = None if earlier is None else _table(earlier)
    used = replan_limits(_table(rows), plan, before, made.plan.inputs.request, prices).to_pylist()
    return "; ".join(row["limit"] for row in used if row["used"] > row["most"])


def _table(rows: pd.DataFrame) -> pa.Table:
    named = {"replan_id": "x", "plan_id": "p", "request_id": "r", "campaign_id": "p"}
    empty = dict.fromkeys(("decided_by", "decided_at", "reason"))
    money = {name: decimals(rows[name]) for name in ("price_now", "price_after")}
    return pa.Table.from_pandas(rows.assign(**{**named, **empty, **money}), schema=REPLANS, preserve_index=False)


def test_the_audit_names_every_kind_of_fault() -> None:
    request: dict[str, Any] = {"promotion_budget": 3000, "stock_budget": 20 * 245}
    skus = {"a": {"supply_units": 130}, "b": {"supply_units": 130}}
    made = small_sale([[40.0] * 3] * 2, np.full((2, 3), 40), elasticity=1.5, skus=skus,
                      regions={"east": {"min_service": 0.1, "capacity_units": 90}}, **request)  # fmt: skip
    clean = replan_rows(_replan(made, 5, [[25, 10, 2], [22, 20, 24]]))
    assert (clean.change != "none").any() and (~clean.within_limits).any()
    assert _faults(made, clean) == ""

    def faults(where: Any = 0, **changes: Any) -> str:
        rows = clean.copy()
        for column, value in changes.items():
            rows.loc[where, column] = value
        return _faults(made, rows)

    first = clean.iloc[0]
    assert "do not add up" in faults(units_after=first.units_after + 1)
    lost = {"units_after": first.units_after - 1, "units_moved": first.units_moved - 1}
    assert "do not sum to nothing" in faults(**lost)
    assert "fewer than no units" in faults(units_after=-1, units_moved=-1 - first.units_left)
    assert "prices outside the ladder" in faults(price_after=41.0)
    assert "more than one price" in faults(price_after=40.0 if first.price_after != 40.0 else 45.0)
    assert "unlawful" in _faults(made, clean.assign(price_after=60.0))
    assert "unsent supply" in faults(units_sent=1, units_after=first.units_after + 1)
    assert "space of east" in faults(units_moved=100, units_after=first.units_left + 100)
    assert "promotion budget" in _faults(made, clean.assign(expected_sales_after=1000.0))
    assert "service of east" in faults(expected_sales_after=-30.0)
    assert "supply of" in _faults(made, clean.assign(units_sent=np.where(clean.within_limits, 0, 50)))
    assert "stock budget" in _faults(made, clean.assign(units_sent=np.where(clean.within_limits, 0, 50)))
    strict = replace(made, plan=replace(made.plan, inputs=replace(
        made.plan.inputs, request=made.plan.inputs.request.model_copy(update={"max_price_changes": 0}))))  # fmt: skip
    assert "price changes" in _faults(strict, clean)
    before = clean[clean.within_limits].assign(status="applied")
    assert "price changes" in _faults(made, clean, before.assign(replan_id="earlier"))


def test_units_on_their_way_are_neither_lost_nor_moved_again() -> None:
    """Half an hour after a move a shelf is counted: what is still on the road is no shortage."""
    made = small_sale([[100.0] * 3], [[150, 100, 40]], changes=0)
    first = replan(made.case(minutes_of(made, 6, [[25, 25, 25]])), Options(7, ask_beyond=False))
    step = Step(first.running.clock, first.within.profile, moved_units(first.within), 0)
    assert step.units[0, 2] > 20 and step.units.sum() == 0
    minutes = minutes_of(made, 6.5, [[27, 27, 27]])
    sold_then = set(minutes.loc[minutes["region_id"] == "west", "minute"])
    counted = next(at for at in (START + pd.Timedelta(minutes=k) for k in range(370, 390)) if at not in sold_then)
    row = {"minute": counted, "sku_id": "a", "region_id": "west", "units": 0, "cancelled_units": 0, "on_hand": 13}
    minutes = pd.concat([minutes, pd.DataFrame([row])], ignore_index=True)
    second = replan(made.case(minutes, (step,)), Options(7, ask_beyond=False))
    assert abs(int(second.running.left.sum()) - (290 - 81)) <= 2
    assert not moved_units(second.within).any()
