"""Interval corrections by group: planted new SKUs that scatter twice as much, and shops in which all are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml.demand import features, heads, level
from ml.demand.heads import KNOWN, NEW, group_of
from ml.demand.instruments import Moves

SPREAD = 0.3  # standard deviation of a known SKU's log lift; a new one's is twice that
BAND = 0.05  # coverage is learnt from 500 rows a group and measured on 2,000: the standard error is 0.02


def _offers(seed: int, *, sales: int, rows: int, new: float, width: float = 2.0) -> level.Training:
    """SIMULATED offers whose features say nothing but whether the SKU is new, with a share `new` of them."""
    rng = np.random.default_rng(seed)
    count = sales * rows
    frame = pd.DataFrame({name: rng.normal(0, 1, count) for name in features.feature_names(False)})
    fresh = rng.random(count) < new
    frame["past_sale_count"] = np.where(fresh, 0.0, 1.0 + rng.integers(0, 5, count))
    frame["category"], frame["promo_type"] = rng.choice(["a", "b"], count), "none"
    ratio = -0.2 + rng.normal(0, 0.08, count)
    frame["base_units"], frame["log_price_ratio"] = 20.0, ratio
    lift = 1.0 - 2.0 * ratio + rng.normal(0, SPREAD, count) * np.where(fresh, width, 1.0)
    unknown = np.full(count, np.nan)
    moves = Moves(unknown, np.zeros(count), np.arange(count) % rows, unknown, unknown)
    order = np.repeat(np.arange(sales), rows)
    return level.Training(frame, lift, ratio, order, order, np.repeat("east", count), np.full(count, 100.0), moves)


def _coverage(model: heads.LevelHeads, data: level.Training) -> dict[str, float]:
    truth = data.lift - model.log_effect(data.frame["category"].to_numpy(), data.log_ratio)
    low, _, high = model.level(data.frame).T
    return pd.Series((truth >= low) & (truth <= high)).groupby(group_of(data.frame)).mean().to_dict()


@pytest.fixture(scope="module")
def fitted() -> heads.LevelHeads:
    """Trees of one round: they have not learnt who scatters more, the corrections have to say it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(level, "ROUNDS", 1)
        return level.fit(_offers(0, sales=40, rows=100, new=0.5), with_text=False, seed=1)


def test_both_groups_are_covered_where_the_pooled_interval_misses_both(fitted: heads.LevelHeads) -> None:
    later = _offers(1, sales=40, rows=100, new=0.5)
    own, pooled = _coverage(fitted, later), _coverage(replace(fitted, group_shifts={}), later)
    assert set(fitted.group_shifts) == {KNOWN, NEW}
    for group in (KNOWN, NEW):
        assert own[group] == pytest.approx(0.8, abs=BAND)
    assert pooled[NEW] < 0.8 - 2 * BAND and pooled[KNOWN] > 0.8 + 2 * BAND
    assert len({fitted.shifts["p50"], *(own["p50"] for own in fitted.group_shifts.values())}) == 1


def test_a_saved_model_keeps_its_groups_and_an_older_one_still_loads(fitted: heads.LevelHeads, tmp_path: Path) -> None:
    later = _offers(2, sales=2, rows=100, new=0.5).frame
    heads.save(fitted, tmp_path / "new")
    pd.testing.assert_frame_equal(heads.load(tmp_path / "new").forecast(later), fitted.forecast(later))
    heads.save(fitted, tmp_path / "old")
    model, manifest = tmp_path / "old" / heads.MODEL, tmp_path / "old" / heads.MANIFEST
    held = json.loads(model.read_text())
    del held["group_shifts"]
    model.write_text(json.dumps(held))
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {heads.MODEL: heads._digest(model)}))
    older, pooled = heads.load(tmp_path / "old"), replace(fitted, group_shifts={})
    pd.testing.assert_frame_equal(older.forecast(later), pooled.forecast(later))
    assert not older.forecast(later).equals(fitted.forecast(later))


def test_where_all_are_known_nothing_changes_to_the_digit() -> None:
    data = _offers(3, sales=16, rows=50, new=0.0)
    model = level.fit(data, with_text=False, seed=1)
    assert model.group_shifts == {KNOWN: model.shifts}
    before = replace(model, group_shifts={}).forecast(data.frame)
    assert np.array_equal(model.forecast(data.frame).to_numpy(), before.to_numpy())


@pytest.mark.parametrize(("rows", "sales", "groups"), [(99, 4, []), (100, 4, [NEW]), (200, 3, []), (100, 5, [NEW])])
def test_a_group_of_few_rows_or_few_sales_is_pooled(
    fitted: heads.LevelHeads, rows: int, sales: int, groups: list[str]
) -> None:
    """Known rows are too few in all of these; of the new ones `rows` are held out, in so many sales."""
    data = _offers(4, sales=10, rows=100, new=0.5)
    fresh = group_of(data.frame) == NEW
    kept = np.append(np.flatnonzero(fresh)[:rows], np.flatnonzero(~fresh)[:30])
    held = level._subset(data, np.isin(np.arange(1000), kept))
    held = replace(held, sales=np.arange(len(held.lift)) % sales)
    assert list(level._conformal(fitted, held).by_group) == groups
