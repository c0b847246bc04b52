"""The sale request: what a planner asks the next plan for (YAML, trigger form or row)."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from flashsale.errors import InputError
from flashsale.times import parse_utc
from flashsale.yaml_text import read_yaml

PromoType = Literal["discount", "full_reduction", "coupon", "bundle"]


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("give a number, not yes or no")
    return value


def _no_count(value: Any) -> Any:
    """A number is refused: since when it counts nobody said."""
    if isinstance(value, int | float) or (isinstance(value, str) and value.strip().replace(".", "", 1).isdigit()):
        raise ValueError("give ISO 8601, such as 2026-11-11T08:00:00Z")
    return value


def _as_written(value: Any) -> Any:
    """Ids of digits alone are text as well: YAML and JSON take them for numbers."""
    return str(value) if type(value) is int else value


Id = Annotated[str, Field(min_length=1), BeforeValidator(_as_written)]
Money = Annotated[Decimal, Field(ge=0, max_digits=14, decimal_places=2), BeforeValidator(_no_truth)]
Whole = Annotated[int, BeforeValidator(_no_truth)]
Share = Annotated[float, BeforeValidator(_no_truth)]
Moment = Annotated[datetime, BeforeValidator(_no_count)]
MOST_UNITS = 10**12


class RegionAsk(BaseModel):
    """A region of the next sale: most units its warehouse takes, least share of expected demand to serve."""

    model_config = ConfigDict(extra="forbid")
    region_id: Id
    capacity_units: Whole = Field(ge=0, le=MOST_UNITS)
    min_service: Share = Field(default=0.0, ge=0, le=1)


class SkuAsk(BaseModel):
    """A SKU of the next sale: supply, cost, salvage value and its ladder of prices and promotion types."""

    model_config = ConfigDict(extra="forbid")
    sku_id: Id
    supply_units: Whole = Field(gt=0, le=MOST_UNITS)
    unit_cost: Money
    salvage_value: Money = Decimal(0)
    prices: list[Money] = Field(min_length=1)
    promo_types: list[PromoType] = Field(default=["discount"], min_length=1)

    @model_validator(mode="after")
    def _prices_cover_cost(self) -> SkuAsk:
        for price in self.prices:
            if price <= 0 or price < self.unit_cost:
                raise ValueError(f"prices: {price} is below unit_cost {self.unit_cost}; raise it or drop it")
        if self.salvage_value > self.unit_cost:
            raise ValueError(f"salvage_value: {self.salvage_value} is above unit_cost {self.unit_cost}; lower it")
        return self


class SaleRequest(BaseModel):
    """A request for the next plan. Money is in `currency`, times are UTC.

    `experiment_share` is the largest share of the plan's expected profit that prices drawn by lot may cost (0: none).
    """

    model_config = ConfigDict(extra="forbid")
    request_id: Id = Field(pattern=r"^[A-Za-z0-9._-]+$")
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    as_of: Moment | None = None
    start_slots: list[Moment] = Field(min_length=1)
    duration_hours: Whole = Field(gt=0, le=24 * 14)
    stock_budget: Money | None = None
    promotion_budget: Money | None = None
    max_price_changes: Whole = Field(default=0, ge=0)
    price_lookback_days: Whole = Field(default=30, ge=0)
    experiment_share: Share = Field(default=0.02, ge=0, le=0.02)
    regions: list[RegionAsk] = Field(min_length=1)
    skus: list[SkuAsk] = Field(min_length=1)

    @field_validator("as_of", mode="after")
    @classmethod
    def _as_of_utc(cls, value: datetime | None) -> datetime | None:
        return None if value is None else _utc(value)

    @field_validator("start_slots", mode="after")
    @classmethod
    def _slots_utc(cls, value: list[datetime]) -> list[datetime]:
        return sorted(_utc(v) for v in value)

    @model_validator(mode="after")
    def _named_once(self) -> SaleRequest:
        for what, names in (
            ("regions", [r.region_id for r in self.regions]),
            ("skus", [s.sku_id for s in self.skus]),
        ):
            twice = sorted({n for n in names if names.count(n) > 1})
            if twice:
                raise ValueError(f"{what}: {', '.join(twice)} stands more than once; keep one")
        if self.as_of is not None and self.as_of > self.start_slots[0]:
            raise ValueError("as_of: lies after the first start slot; set it before the sale")
        return self

    def canonical_json(self) -> str:
        """The request as JSON with sorted keys: the form that is stored and hashed."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)


def _utc(value: datetime) -> datetime:
    try:
        return parse_utc(value)
    except OverflowError as error:
        raise ValueError("lies at the end of all years; give another") from error


def _row_of(location: tuple[int | str, ...], raw: Any) -> str | None:
    """Name of the SKU or region a validation error lies in."""
    if len(location) >= 2 and location[0] in {"skus", "regions"} and isinstance(location[1], int):
        item = raw[location[0]][location[1]]
        key = "sku_id" if location[0] == "skus" else "region_id"
        return str(item.get(key, location[1])) if isinstance(item, dict) else str(location[1])
    return None


def load_request(source: str | Path | dict[str, Any]) -> SaleRequest:
    """A sale request from a YAML file, JSON text or a mapping.

    Raises InputError that names the request, the field, the SKU or region, and the remedy; all faults at once.
    """
    if isinstance(source, dict):
        raw: Any = source
    elif isinstance(source, Path) or not source.lstrip().startswith("{"):
        raw = read_yaml(Path(source), f"sale request {source}")
    else:
        try:
            raw = json.loads(source)
        except (ValueError, RecursionError) as error:
            raise InputError("sale request", f"is not JSON ({error})", "send the whole request again") from error
    if not isinstance(raw, dict):
        raise InputError(f"sale request {source}", "is not a mapping of fields", "give a YAML file as in the README")
    name = f"sale request {raw.get('request_id', source)}"
    try:
        return SaleRequest.model_validate(raw)
    except ValidationError as error:
        faults = error.errors()
        first = faults[0]
        words = "; ".join(f"{'.'.join(str(p) for p in f['loc'])}: {f['msg']}" for f in faults)
        raise InputError(
            name,
            words,
            "correct the field and send the request again",
            field=".".join(str(p) for p in first["loc"]) or None,
            row=_row_of(first["loc"], raw),
        ) from error


def check_known(request: SaleRequest, skus: set[str], regions: set[str]) -> None:
    """Refuse a request for SKUs or regions that the platform has never seen.

    Raises:
        InputError: naming the first unknown SKU or region.
    """
    for field, asked, known in (
        ("skus", [s.sku_id for s in request.skus], skus),
        ("regions", [r.region_id for r in request.regions], regions),
    ):
        unknown = [name for name in asked if name not in known]
        if unknown:
            raise InputError(
                f"sale request {request.request_id}",
                f"{unknown[0]!r} is in no {'catalogue' if field == 'skus' else 'region'} record",
                "correct the name, or deliver its record first",
                field=field,
                row=unknown[0],
            )
