"""Every limit of a request is one row; what breaks it shows as used above most."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from flashsale.plan_limits import plan_limits
from flashsale.request import load_request
from tests.flashsale.test_request import RAW

REQUEST = load_request({**RAW, "stock_budget": 3100, "promotion_budget": 2000})
PRICES = {"sku-001": (69.9, 59.9)}


def limits(**changes: object) -> dict[str, tuple[float, float]]:
    row = {
        "sku_id": "sku-001",
        "region_id": "east",
        "allocate_units": 100,
        "offer_price": 49.9,
        "promo_type": "coupon",
        "expected_sales": 90.0,
        "starts_at": datetime(2026, 11, 11, tzinfo=UTC),
        **changes,
    }
    rows = plan_limits(pa.Table.from_pylist([row]), REQUEST, PRICES).to_pylist()
    return {r["limit"]: (r["used"], r["most"]) for r in rows}


def test_a_plan_within_its_limits() -> None:
    found = limits()
    assert all(used <= most for used, most in found.values())
    assert found["stock budget"] == (3100.0, 3100.01)
    assert found["promotion budget"][0] == pytest.approx(1800.0)
    assert found["supply of sku-001"] == (100.0, 500.0)
    assert found["space of east"] == (100.0, 4000.0)


def test_each_breach_shows_in_its_own_row() -> None:
    def broken(**changes: object) -> set[str]:
        return {name for name, (used, most) in limits(**changes).items() if used > most}

    assert broken(allocate_units=101) == {"stock budget"}
    assert broken(allocate_units=5000) == {"stock budget", "supply of sku-001", "space of east"}
    assert broken(offer_price=44.0, expected_sales=1.0) == {"prices outside the ladder"}
    assert broken(expected_sales=101.0) == {"promotion budget"}
    assert broken(offer_price=60.0) == {"prices outside the ladder", "unlawful prices"}
    assert broken(starts_at=datetime(2026, 11, 12, tzinfo=UTC)) == {"starts outside the slots"}
    assert broken(promo_type="bundle") == {"promotions outside the ladder"}
    assert broken(region_id="moon") == {"rows outside the request"}


def test_minimum_service_is_a_share_of_expected_demand_that_has_to_sell() -> None:
    region = REQUEST.regions[0].model_copy(update={"min_service": 0.9})
    served = REQUEST.model_copy(update={"regions": [region, *REQUEST.regions[1:]]})
    row = {
        "sku_id": "sku-001", "region_id": region.region_id, "allocate_units": 0, "offer_price": 49.9,
        "promo_type": "coupon", "expected_sales": 0.0, "starts_at": datetime(2026, 11, 11, tzinfo=UTC),
    }  # fmt: skip

    def service(**changes: object) -> list[tuple[float, float]]:
        found = plan_limits(pa.Table.from_pylist([{**row, **changes}]), served, PRICES).to_pylist()
        return [(r["used"], r["most"]) for r in found if r["limit"].startswith("service of sku-001 in")]

    assert service(expected_demand=100.0) == [(90.0, pytest.approx(0.0, abs=1e-3))]
    ((used, most),) = service(expected_demand=100.0, expected_sales=90.0)
    assert used <= most
    assert service() == [] and service(expected_demand=None) == [], "older plans do not say what was expected"
