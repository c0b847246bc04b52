"""Prices that published plans drew by lot: found again among past offers, and read by the response head."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from flashsale.decision_tables import ALLOCATION_RECOMMENDATIONS
from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.settings import settings
from marketplace.marts import build_marts
from marketplace.regimes import REGIMES
from marketplace.shop import build_shop
from marketplace.world import Size
from ml.demand import features, level, tables
from ml.demand.lots import with_lots
from ml.demand.unconstrain import CELL, unconstrain
from tests.ml.conftest import build_frames, publish_snapshot

START = pd.Timestamp("2026-11-11", tz="UTC")
PLAN = {"status": "published", "experiment_arm": "best_price", "experiment_propensity": 0.4, "allocate_units": 5,
        "offer_price": 9.0, "experiment_other_price": 10.0, "region_id": "east", "starts_at": START}  # fmt: skip


def test_lots_are_found_by_sku_region_and_start_in_published_plans_alone() -> None:
    plans = pd.DataFrame([
        {**PLAN, "sku_id": "a"}, {**PLAN, "sku_id": "b", "status": "approved"},
        {**PLAN, "sku_id": "c", "experiment_arm": None}, {**PLAN, "sku_id": "d", "allocate_units": 0},
    ])  # fmt: skip
    rows = pd.DataFrame([(s, "east", START) for s in "dcba"], columns=["sku_id", "region_id", "starts_at"])
    rows = pd.concat([rows, rows.tail(1).assign(starts_at=START - pd.Timedelta(days=1))], ignore_index=True)
    found = with_lots(rows.assign(offer_price=9.0, list_price=12.0, unit_cost=5.0), plans)
    assert found.lot_price.notna().tolist() == [False, False, False, True, False]
    moves = features.price_moves(found)
    assert moves.lot[3] == pytest.approx(0.6 * np.log(9.0 / 10.0))
    assert moves.centre[3] == pytest.approx(0.4 * np.log(9.0 / 12.0) + 0.6 * np.log(10.0 / 12.0))
    assert np.isnan(moves.lot[[0, 1, 2, 4]]).all()


def test_a_lot_without_a_chance_or_another_price_is_refused() -> None:
    rows = pd.DataFrame([("a", "east", START)], columns=["sku_id", "region_id", "starts_at"])
    for field, value in (("experiment_propensity", 1.0), ("experiment_other_price", None)):
        with pytest.raises(InputError, match=f"{field} of drawn row 0"):
            with_lots(rows, pd.DataFrame([{**PLAN, "sku_id": "a", field: value}]))
    with pytest.raises(InputError, match="experiment_arm is missing"):
        with_lots(rows, pd.DataFrame([{**PLAN, "sku_id": "a"}]).drop(columns="experiment_arm"))


def test_the_response_head_reads_a_simulated_shops_lots() -> None:
    """The manager prices by shocks that the features without texts do not hold; the lots do not."""
    shop = build_shop(Size(seed=7, regime=replace(REGIMES["prices_by_lot"], lot_share=1.0)))
    frames = build_marts(shop)
    demand = unconstrain(frames["performance"].merge(frames["products"][["sku_id", "category"]]), frames["hours"])
    past = frames["features"][frames["features"].row_kind == "campaign"].merge(demand[[*CELL, "demand"]], on=CELL)
    rows = with_lots(past, shop.plans.to_pandas())
    assert rows.lot_price.notna().mean() > 0.99
    assert (np.abs(rows.lot_price - rows.offer_price) < 0.01).all()
    found = level.response_of(level.fit(level.training_set(rows, _units(rows)), with_text=False, seed=1))
    plain = level.response_of(level.fit(level.training_set(past, _units(past)), with_text=False, seed=1))
    planted = -float(shop.truth["products"].to_pandas().set_index("sku_id").elasticity.reindex(past.sku_id).mean())
    assert plain.evidence == {} and found.observational == plain.observational
    assert found.evidence["lots"]["offers"] > 300
    assert abs(found.evidence["lots"]["slope"] - planted) < 2.5 * found.evidence["lots"]["se"]
    assert abs(found.pooled - planted) < 0.6 * abs(plain.pooled - planted)


def _units(rows: pd.DataFrame) -> np.ndarray:
    return rows.demand.to_numpy(dtype=float)


def test_the_platform_learns_from_its_own_published_plans(home: Path) -> None:
    frames = build_frames(Size(seed=4, skus=8, regions=2, sales=8, days=80))
    publish_snapshot(frames)
    before, mark = tables.learning_rows()
    assert before[list(features.LOT)].isna().all(axis=None)
    own = frames.performance[frames.performance.campaign_id == "c005"]
    rows = [
        {"plan_id": "p1", "sku_id": c.sku_id, "region_id": c.region_id, "status": "published", "allocate_units": 3,
         "experiment_arm": "best_price", "experiment_propensity": 0.5, "starts_at": c.starts_at.to_pydatetime(),
         "offer_price": round(c.offer_price, 2), "experiment_other_price": c.offer_price * 1.1}
        for c in own.itertuples()
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    schema = pa.schema([ALLOCATION_RECOMMENDATIONS.field(name) for name in frame])
    prices = pa.array(frame["offer_price"]).cast(schema.field("offer_price").type, safe=False)
    table = pa.table({name: prices if name == "offer_price" else pa.array(frame[name]) for name in frame})
    table = pa.concat_tables([table.cast(schema), ALLOCATION_RECOMMENDATIONS.empty_table()], promote_options="default")
    Lake(settings().lake_uri).write("decisions/allocation_recommendations", "plan_id=p1",
                                    table.select(ALLOCATION_RECOMMENDATIONS.names))  # fmt: skip
    after, other = tables.learning_rows()
    assert set(after[after.lot_price.notna()].campaign_id) == {"c005"}
    assert after.lot_price.notna().sum() == len(own)
    assert other != mark
