"""The sale request: read from YAML or JSON, refused with request, field, row and remedy."""

from __future__ import annotations

from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from flashsale.errors import InputError
from flashsale.request import load_request

RAW: dict[str, Any] = yaml.safe_load(
    """
request_id: 2026-11-11-main
currency: CNY
as_of: 2026-11-10T00:00:00Z
start_slots: [2026-11-11T12:00:00Z, 2026-11-11T00:00:00Z]
duration_hours: 24
stock_budget: 250000
regions: [{region_id: east, capacity_units: 4000, min_service: 0.1}]
skus: [{sku_id: sku-001, supply_units: 500, unit_cost: 31.00, salvage_value: 9.00, prices: [49.90, 59.90], promo_types: [discount, coupon]}]
"""
)


def changed(**values: Any) -> dict[str, Any]:
    return {**deepcopy(RAW), **values}


def sku(**values: Any) -> dict[str, Any]:
    return changed(skus=[{**RAW["skus"][0], **values}])


def test_yaml_json_and_mapping_are_the_same_request(tmp_path: Path) -> None:
    path = tmp_path / "sale_request.yaml"
    path.write_text(yaml.safe_dump(RAW))
    request = load_request(path)
    assert request == load_request(RAW) == load_request(request.canonical_json())
    assert [slot.hour for slot in request.start_slots] == [0, 12]
    assert request.skus[0].prices == [Decimal("49.9"), Decimal("59.9")]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (sku(prices=[20.0]), r"sale request 2026-11-11-main.*row sku-001.*20.0 is below unit_cost 31.0"),
        (sku(supply_units=0), r"field 'skus.0.supply_units', row sku-001.*greater than 0"),
        (sku(prices=[]), r"skus.0.prices.*at least 1"),
        (sku(promo_types=["gift"]), r"skus.0.promo_types.0"),
        (changed(skus=[]), r"skus.*at least 1"),
        (changed(duration_hours=0), r"duration_hours"),
        (changed(currency="yuan"), r"currency"),
        (changed(stock_budgt=3), r"stock_budgt.*Extra inputs"),
        (changed(as_of="2026-12-01T00:00:00Z"), r"as_of: lies after the first start slot"),
        (changed(regions=RAW["regions"] * 2), r"regions: east stands more than once"),
        (changed(as_of=20261110), r"as_of.*ISO 8601"),
        (changed(start_slots=["1762819200"]), r"start_slots.0.*ISO 8601"),
        (changed(stock_budget=True), r"stock_budget.*not yes or no"),
        (sku(prices=[59.999]), r"skus.0.prices.0.*2 decimal places"),
        (sku(unit_cost=10**13), r"skus.0.unit_cost"),
        (sku(supply_units=10**19), r"skus.0.supply_units"),
        ({k: v for k, v in RAW.items() if k != "request_id"}, r"request_id.*Field required"),
    ],
)
def test_a_wrong_request_says_what_and_where(raw: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        load_request(raw)
    assert caught.value.remedy


def test_a_file_that_is_no_request_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("- just\n- a list\n")
    with pytest.raises(InputError, match="is not a mapping"):
        load_request(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_request(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("start_slots: [2026-11-31T00:00:00Z]", "cannot be read.*day"),
        ("as_of: 2026-13-01", "cannot be read.*month"),
        ("stock_budget: 1\nstock_budget: 2", "'stock_budget' stands twice"),
        ("# nothing", "is not a mapping"),
        ("7", "is not a mapping"),
        ("[" * 5000, "cannot be read"),
    ],
)
def test_a_file_that_holds_no_request_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "sale_request.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        load_request(path)
    path.write_bytes("request_id: café".encode("latin-1"))
    with pytest.raises(InputError, match="cannot be read"):
        load_request(path)
    with pytest.raises(InputError, match="is not JSON"):
        load_request('{"request_id":')


def test_ids_of_digits_are_what_the_file_says(tmp_path: Path) -> None:
    """YAML 1.1 would read 0123 as 83 and 25:00 as 1500."""
    sku = "{supply_units: 1_000, unit_cost: 1.50, prices: [2, 2.50], sku_id: "
    path = tmp_path / "sale_request.yaml"
    path.write_text(
        "request_id: 20261111\ncurrency: CNY\nstart_slots: [2026-11-11T00:00:00Z]\nduration_hours: 24\n"
        f"regions: [{{region_id: 07, capacity_units: 10}}]\nskus: [{sku}0123}}, {sku}12345678901234567890}}, {sku}25:00}}]\n"
    )
    found = load_request(path)
    assert (found.request_id, found.regions[0].region_id) == ("20261111", "07")
    assert [s.sku_id for s in found.skus] == ["0123", "12345678901234567890", "25:00"]
    assert {s.supply_units for s in found.skus} == {1000}
    path.write_text(path.read_text().replace("duration_hours: 24", "duration_hours: 24:00"))
    with pytest.raises(InputError, match="duration_hours"):
        load_request(path)
