"""A kept plan comes back as it was, and a changed request moves it the way it must."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flashsale.errors import InputError
from ml.allocation import keep
from ml.allocation.ladder import lawful_ladder
from ml.allocation.plan import Inputs, make_plan
from ml.allocation.store import past_lifts
from ml.allocation.whatif import changed_request, what_if
from ml.demand import level
from ml.demand.unconstrain import CELL, unconstrain

SEED = 1


@pytest.fixture(scope="module")
def folder(shop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cells = shop.performance.merge(shop.products[["sku_id", "category"]])
    learnt = shop.features[shop.features.row_kind == "campaign"].merge(
        unconstrain(cells, shop.hours)[[*CELL, "demand"]], on=CELL
    )
    asked = shop.features[shop.features.row_kind == "request"].reset_index(drop=True)
    prices = {sku: [float(o.list_price.iloc[0]), float(o.lowest_price_30d.min())] for sku, o in asked.groupby("sku_id")}
    lowest = {sku: pair[1] for sku, pair in prices.items()}
    shipping = {r: float(c) for r, c in shop.regions.set_index("region_id").shipping_cost.items()}
    inputs = Inputs(shop.request, asked, past_lifts(learnt), lawful_ladder(shop.request, lowest), shipping)
    heads = level.fit(level.training_set(learnt, learnt.demand.to_numpy(dtype=float)), with_text=False, seed=SEED)
    out = tmp_path_factory.mktemp("kept") / "inputs"
    facts = {"plan_id": "p", "plain": True, "seed": SEED, "prices": prices}
    even = pd.DataFrame({"category": ["x"], "promo_type": ["coupon"], "starts_at": [pd.Timestamp(0, tz="UTC")],
                         "hour": [0], "share": [1.0]})  # fmt: skip
    keep.save(out, inputs, heads, heads, facts, even)
    before = make_plan(inputs, heads, SEED).solution
    assert before.value > 0
    (out / "value.txt").write_text(repr(before.value))
    return out


def test_a_kept_plan_solves_to_the_same_value(folder: Path) -> None:
    kept = keep.read(folder)
    again = make_plan(kept.inputs, kept.heads(), SEED).solution
    assert again.value == pytest.approx(float((folder / "value.txt").read_text()), abs=1e-9)


def test_an_unchanged_request_changes_nothing(folder: Path) -> None:
    kept = keep.read(folder)
    found = what_if(kept, [f"promotion_budget={kept.inputs.request.promotion_budget}"])
    assert set(found["difference"].values()) == {0.0}
    assert all(row["units_change"] == row["margin_change"] == 0 for row in found["rows"])


def test_less_money_buys_fewer_units_and_earns_less(folder: Path) -> None:
    kept = keep.read(folder)
    costs = {sku.sku_id: float(sku.unit_cost) for sku in kept.inputs.request.skus}
    free = what_if(kept, ["stock_budget=null"])
    spent = sum(costs[row["sku_id"]] * row["units_after"] for row in free["rows"])
    tight = what_if(kept, [f"stock_budget={spent / 3:.2f}", "regions.*.min_service=0"])
    used = sum(costs[row["sku_id"]] * row["units_after"] for row in tight["rows"])
    assert used <= spent / 3 + 0.01
    assert tight["after"]["units"] < free["after"]["units"]
    assert tight["after"]["expected_profit"] < free["after"]["expected_profit"]
    rows = pd.DataFrame(tight["rows"])
    assert rows.units_change.sum() == tight["difference"]["units"]
    assert rows.margin_after.sum() == pytest.approx(tight["after"]["expected_profit"], abs=0.01 * len(rows))


def test_an_empty_region_gets_nothing(folder: Path) -> None:
    kept = keep.read(folder)
    region = kept.inputs.request.regions[0].region_id
    found = what_if(kept, [f"regions.{region}.capacity_units=0", f"regions.{region}.min_service=0"])
    assert all(row["units_after"] == 0 for row in found["rows"] if row["region_id"] == region)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("stock_budget", "no value"),
        ("start_slots=[2026-01-01]", "no field"),
        ("regions.moon.capacity_units=3", "not in the request"),
        ("skus.*.prices=[]", "prices"),
        ("stock_budget=-5", "stock_budget"),
        ("stock_budget=", "has no value.*null to lift"),
        ("stock_budget= #5", "has no value"),
        ("stock_budget=2026-13-45", "cannot be read"),
        ("skus.*.prices=[59.999]", "2 decimal places"),
    ],
)
def test_a_setting_that_cannot_be_is_named(folder: Path, setting: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        changed_request(keep.read(folder).inputs.request, [setting])
