"""What another request would have brought: a kept plan solved again with some of its fields changed.

Both plans come from the same demand model, scenarios and seed, so that they differ by the request alone. Nothing is
stored. Fields that features rest on (start, duration, `as_of`) cannot be changed here: they need a plan of their own.
"""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from flashsale.errors import InputError
from flashsale.request import SaleRequest, load_request
from flashsale.yaml_text import parse_yaml
from ml.allocation.keep import Kept
from ml.allocation.plan import Planned, make_plan, plan_rows, with_experiment

WHOLE = ("stock_budget", "promotion_budget")
REGION = ("capacity_units", "min_service")
SKU = ("supply_units", "unit_cost", "salvage_value", "prices", "promo_types")
HELP = (
    f"set {', '.join(WHOLE)}, regions.<region>.{{{','.join(REGION)}}} or skus.<sku>.{{{','.join(SKU)}}}; "
    "`*` for <region> or <sku> means all of them"
)


def changed_request(request: SaleRequest, settings: list[str]) -> SaleRequest:
    """The request with `path=value` settings applied; values are YAML, `null` lifts a budget.

    Raises:
        InputError: naming the field, where a path is unknown or a value is not lawful.
    """
    raw: dict[str, Any] = json.loads(request.canonical_json())
    for text in settings:
        path, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"setting {text!r}", "has no value", "give path=value", field=path)
        parsed = parse_yaml(value, f"setting {text!r}", "give path=value")
        if parsed is None and value.strip() not in ("null", "~"):  # an empty variable of a shell lifts no budget
            raise InputError(f"setting {text!r}", "has no value", "give path=value, null to lift a budget", field=path)
        for place, name in _places(raw, path):
            place[name] = parsed
    return load_request(raw)


def _places(raw: dict[str, Any], path: str) -> list[tuple[dict[str, Any], str]]:
    """The mappings that a path names, and the field in each."""
    if path in WHOLE:
        return [(raw, path)]
    part, _, rest = path.partition(".")
    name, _, field = rest.rpartition(".")
    fields, key = {"regions": (REGION, "region_id"), "skus": (SKU, "sku_id")}.get(part, ((), ""))
    if field not in fields:
        raise InputError(f"setting {path}", "names no field that can be changed", HELP, field=path)
    found = [item for item in raw[part] if name in ("*", item[key])]
    if not found:
        raise InputError(f"setting {path}", f"{name!r} is not in the request", HELP, field=path)
    return [(item, field) for item in found]


def what_if(kept: Kept, settings: list[str]) -> dict[str, Any]:
    """The kept plan, the changed one and their difference, in total and by SKU and region.

    Returns `before`, `after` and `difference` (units, expected sales, profit, bound) and `rows`: one a SKU and region,
    with units, price, expected sales and margin `before`, `after` and their difference.
    """
    request = changed_request(kept.inputs.request, settings)
    inputs = kept.asked(request)
    seed = int(kept.facts["seed"])
    plans = [with_experiment(make_plan(part, kept.heads(), seed), part.request, seed) for part in (kept.inputs, inputs)]
    before, after = (
        plan_rows(part, plan, None).set_index(["sku_id", "region_id"])
        for part, plan in zip((kept.inputs, inputs), plans, strict=True)
    )
    totals = [_totals(plan, rows) for plan, rows in zip(plans, (before, after), strict=True)]
    return {
        "plan_id": kept.facts["plan_id"],
        "currency": request.currency,
        "settings": settings,
        "before": totals[0],
        "after": totals[1],
        "difference": {name: round(totals[1][name] - totals[0][name], 2) for name in totals[0] if name != "gap"},
        "rows": _rows(before, after),
    }


def _totals(plan: Planned, rows: pd.DataFrame) -> dict[str, float]:
    return {
        "units": int(rows["allocate_units"].sum()),
        "expected_sales": round(float(rows["expected_sales"].sum()), 2),
        "expected_profit": round(float(rows["expected_margin"].sum()), 2),
        "bound": round(float(plan.solution.bound), 2),
        "gap": round(float(plan.solution.gap), 6),
    }


def _rows(before: pd.DataFrame, after: pd.DataFrame) -> list[dict[str, Any]]:
    shown = {"units": "allocate_units", "price": "offer_price", "sales": "expected_sales", "margin": "expected_margin"}
    found = []
    for key in before.index:
        row: dict[str, Any] = {"sku_id": key[0], "region_id": key[1]}
        for name, column in shown.items():
            old, new = (round(float(frame.loc[key, column]), 2) for frame in (before, after))
            row |= {f"{name}_before": old, f"{name}_after": new, f"{name}_change": round(new - old, 2)}
        row["promo_after"] = str(after.loc[key, "promo_type"])
        found.append(row)
    return found
