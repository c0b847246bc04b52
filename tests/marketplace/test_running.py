"""A sale played minute by minute: the same customers as the judge's, and changes that keep count of every unit."""

from __future__ import annotations

import numpy as np
import pytest

from marketplace.exam.arrivals import Arrivals, draw_arrivals
from marketplace.exam.judge import Plan, judge
from marketplace.exam.running import Change, run_sale
from marketplace.exam.table import Sale


@pytest.fixture(scope="module")
def arrivals(sale: Sale) -> Arrivals:
    return draw_arrivals(np.random.default_rng(5), sale.largest_means(), 3)


def test_left_alone_it_earns_what_the_judge_says(sale: Sale, arrivals: Arrivals) -> None:
    chosen, units = sale.managers(), np.full((len(sale.actions), 2), 7)
    runs = [run_sale(sale, chosen, units, arrivals, (), k) for k in range(3)]
    mark = judge(sale, Plan(chosen, units), arrivals)
    assert np.mean([run.profit for run in runs]) / 100 == pytest.approx(mark["profit"])
    assert np.mean([run.sold.sum() for run in runs]) == pytest.approx(mark["served"])


def test_moved_units_are_neither_lost_nor_made_and_cost_their_shipping(sale: Sale, arrivals: Arrivals) -> None:
    chosen, units = sale.managers(), np.full((len(sale.actions), 2), 7)
    out = np.zeros_like(units)
    out[:, 0] = -1
    back = np.zeros_like(units)
    back[:, 1] = 1
    alone = run_sale(sale, chosen, units, arrivals)
    moved = run_sale(sale, chosen, units, arrivals, [Change(5, None, out), Change(65, None, back)])
    assert (
        moved.sold.sum() + moved.stock[:, :, -1].sum() == units.sum() == alone.sold.sum() + alone.stock[:, :, -1].sum()
    )
    assert (moved.stock >= 0).all()
    price = np.array([action[0] for action in chosen], dtype=float)
    more = (price - sale.salvage) @ (moved.sold.sum(axis=(1, 2)) - alone.sold.sum(axis=(1, 2)))
    assert moved.profit - alone.profit == pytest.approx(more - len(units) * sale.shipping[1])


def test_a_dearer_price_sends_nobody_new_before_its_minute(sale: Sale, arrivals: Arrivals) -> None:
    cheap = [min(own) for own in sale.actions]
    dear = [max(a for a in own if a[1:] == c[1:]) for own, c in zip(sale.actions, cheap, strict=True)]
    units = np.full((len(sale.actions), 2), 10**4)
    alone, raised = (run_sale(sale, cheap, units, arrivals, c) for c in ((), [Change(600, dear)]))
    assert (alone.sold[:, :, :600] == raised.sold[:, :, :600]).all()
    assert raised.sold.sum() < alone.sold.sum()


def test_the_watch_sees_closed_minutes_alone(sale: Sale, arrivals: Arrivals) -> None:
    units = np.full((len(sale.actions), 2), 7)
    run = run_sale(sale, sale.managers(), units, arrivals)
    rows = run.minutes(sale, 300)
    assert rows["units"].sum() == run.sold[:, :, :300].sum()
    assert (rows["minute"].max() - rows["minute"].min()).total_seconds() <= 300 * 60
    gone = (run.stock[:, :, 299] == 0).sum()
    assert (rows["on_hand"] == 0).sum() >= gone
