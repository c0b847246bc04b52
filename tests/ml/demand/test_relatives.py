"""What SKUs that never sold take from others: by attributes, by titles, from nothing that came later."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from flashsale.lake import Lake
from flashsale.settings import settings
from flashsale.tables import TITLE_VECTORS, TITLES
from flashsale.warehouse_load import SERVED
from ml.demand import features, relatives
from ml.demand.relatives import VECTOR, of_relatives, with_vectors

START = pd.Timestamp("2026-03-01", tz="UTC")


def vector(*direction: float) -> bytes:
    unit = np.array(direction) / np.linalg.norm(direction)
    return bytes(unit.astype("<f2").tobytes())


KETTLE, LAMP = (1.0, 0.1, 0.0), (0.0, 0.1, 1.0)


def cells(goods: list[tuple[str, str, tuple[float, ...], float]], days: float = 0.0) -> pd.DataFrame:
    """One past cell a good and region; a good is its name, category, title and level."""
    return pd.DataFrame(
        [
            {
                "row_kind": "campaign", "campaign_id": "c", "sku_id": name, "region_id": region, "category": category,
                "list_price": 50.0, "ends_at": START + pd.Timedelta(days=days), VECTOR: vector(*title),
                "value": level + (1.0 if region == "east" else 0.0),
            }
            for name, category, title, level in goods
            for region in ("east", "west")
        ]
    )  # fmt: skip


def new(title: tuple[float, ...] | None = KETTLE, category: str = "home", days: float = 1.0) -> pd.DataFrame:
    return pd.DataFrame(
        {"sku_id": "new", "region_id": ["east", "west"], "category": category, "list_price": 50.0,
         "cutoff_at": START + pd.Timedelta(days=days), VECTOR: None if title is None else vector(*title)}
    )  # fmt: skip


def shop(jitter: int = 3) -> pd.DataFrame:
    """Twenty kettles that sell well and twenty lamps that hardly do, all of one category and price."""
    rng = np.random.default_rng(jitter)
    goods = [(f"{kind}{i}", "home", tuple(np.add(title, rng.normal(0, 0.05, 3))), level + rng.normal(0, 0.1))
             for kind, title, level in (("kettle", KETTLE, 3.0), ("lamp", LAMP, 1.0)) for i in range(20)]  # fmt: skip
    return cells(goods)


def test_titles_tell_what_a_new_sku_is_like() -> None:
    past = shop()
    kettle, lamp = (of_relatives(new(title), past, "value") for title in (KETTLE, LAMP))
    assert kettle == pytest.approx([4.0, 3.0], abs=0.15)
    assert lamp == pytest.approx([2.0, 1.0], abs=0.15)


def test_titles_that_tell_nothing_give_the_usual() -> None:
    past = shop()
    order = np.random.default_rng(1).permutation(past["sku_id"].unique())
    dealt = past.groupby("sku_id")[VECTOR].first().loc[order].set_axis(past["sku_id"].unique())
    found = of_relatives(new(), past.assign(**{VECTOR: past["sku_id"].map(dealt)}), "value")
    assert found == pytest.approx([3.0, 2.0], abs=0.35)


def test_without_titles_category_and_price_tell() -> None:
    home, toys = (cells([(f"{kind}{i}", kind, KETTLE, level + i / 20) for i in range(9)])
                  for kind, level in (("home", 3.0), ("toys", 1.0)))  # fmt: skip
    past, rows = pd.concat([home, toys]).drop(columns=VECTOR), new().drop(columns=VECTOR)
    assert of_relatives(rows, past, "value") == pytest.approx([4.2, 3.2], abs=0.15)
    assert of_relatives(rows.assign(category="toys"), past, "value") == pytest.approx([2.2, 1.2], abs=0.15)
    dear = past.assign(list_price=np.where(past["category"] == "toys", 500.0, 50.0), category="home")
    assert of_relatives(rows.assign(list_price=480.0), dear, "value") == pytest.approx([2.2, 1.2], abs=0.25)


def test_it_is_the_mean_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equation 2.25 of Rasmussen and Williams, solved the plain way."""
    monkeypatch.setattr(relatives, "TITLE_SHARES", (0.5,))
    monkeypatch.setattr(relatives, "NOISES", (0.4,))
    rng = np.random.default_rng(5)
    goods = [(f"s{i}", "ab"[i % 2], tuple(rng.normal(size=3)), float(rng.normal())) for i in range(12)]
    past, rows = cells(goods), new(tuple(rng.normal(size=3)), "a")
    units = np.array([np.frombuffer(vector(*good[2]), "<f2") for good in goods], dtype=float)
    asked = np.frombuffer(rows[VECTOR][0], "<f2").astype(float)

    def kernel(near: np.ndarray, same: np.ndarray) -> np.ndarray:
        return 0.5 * np.exp((near - 1.0) / relatives.NEAR_TITLE) + 0.5 * (0.5 * same + 0.5)

    kind, level = np.array([good[1] for good in goods]), np.array([good[3] for good in goods])
    inner = kernel(units @ units.T, kind[:, None] == kind[None, :])
    answer = kernel(units @ asked, kind == "a") @ np.linalg.solve(inner + 0.4 * np.eye(12), level - level.mean())
    assert of_relatives(rows, past, "value") == pytest.approx(level.mean() + answer + np.array([1.0, 0.0]), abs=1e-9)


def test_nothing_later_and_nothing_of_its_own_counts() -> None:
    past = shop()
    before = of_relatives(new(), past, "value")
    later = cells([(f"late{i}", "home", KETTLE, 99.0) for i in range(9)], days=2)
    assert of_relatives(new(), pd.concat([past, later]), "value").tolist() == before.tolist()
    own = cells([("new", "home", KETTLE, 2.0)], days=2)
    assert of_relatives(new(), pd.concat([past, own]), "value").tolist() == before.tolist()
    assert np.isnan(of_relatives(new(days=3), pd.concat([past, own]), "value")).all()
    assert np.isnan(of_relatives(new(days=-1), past, "value")).all()  # nothing had ended yet
    few = past[past["sku_id"].isin(["kettle0", "kettle1", "lamp0", "lamp1"])]
    assert np.isnan(of_relatives(new(), few, "value")).all()
    assert of_relatives(new(None), past, "value") == pytest.approx([3.0, 2.0], abs=0.2)


def test_a_sku_that_never_sold_takes_the_baseline_of_its_relatives() -> None:
    past = shop().assign(base_units_28d=lambda own: own["value"].clip(lower=0.1), base_units_182d=1.0)
    past = past.assign(duration_hours=24.0, base_units_28d_all=0.0, cutoff_at=START)
    past = features.past_cells(past, np.full(len(past), 5.0))
    zero = dict.fromkeys(("base_units_28d", "base_units_182d", "base_units_28d_all"), 0.0)
    rows = pd.concat([new(), new(LAMP).assign(sku_id="other")], ignore_index=True)
    rows = rows.assign(row_kind="request", campaign_id="r", duration_hours=24.0, **zero)
    kettle, lamp = np.split(features.base_units(rows, past), 2)
    assert (kettle > 1.5 * lamp).all()
    assert np.unique(features.base_units(rows)).tolist() == [1.0]  # nothing told, as for the first sale of a shop
    known = rows.assign(base_units_28d=4.0, base_units_182d=1.0, base_units_28d_all=8.0)
    assert features.base_units(known, past).tolist() == features.base_units(known).tolist()


@pytest.mark.usefixtures("home")
def test_rows_get_the_vectors_of_the_served_model() -> None:
    lake = Lake(settings().lake_uri)
    rows = pd.DataFrame({"title": ["Kettle A1", "Lamp B2", None]})
    assert with_vectors(rows, lake) is rows
    lake.write(SERVED, "scope=current", pa.table({"model_version": ["m-v2"]}))
    for version, title in (("m-v1", "Lamp B2"), ("m-v2", "Kettle A1")):
        table = pa.table([[title], [vector(*KETTLE)]], schema=TITLE_VECTORS)
        lake.write(TITLES, f"model_version={version}", table)
    found = with_vectors(rows, lake)[VECTOR]
    assert found[0] == vector(*KETTLE) and found[1:].isna().all()
    assert VECTOR not in with_vectors(rows.drop(columns="title"), lake)
