"""Questions to a stored plan, in a replay's folder or in the lake: why this cell, and what if the request were another.

Solving belongs to the models' room: its own command is run from here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flashsale.errors import InputError
from flashsale.explaining import models_command
from flashsale.lake import Lake
from flashsale.replay.results import INPUTS, PLAN, RECOMMENDATIONS
from flashsale.settings import settings

DATASET = "decisions/allocation_recommendations"


def plan_table(plan: str) -> pa.Table:
    """Rows of a plan: a replay's folder, or a plan id of the lake. InputError where there is none."""
    folder = Path(plan)
    if (folder / RECOMMENDATIONS).is_file():
        return pq.ParquetFile(folder / RECOMMENDATIONS).read()
    if folder.is_dir():
        raise InputError(f"folder {plan}", "holds no plan", "name the --out folder of a replay")
    lake = Lake(settings().lake_uri)
    if lake.manifest(DATASET, f"plan_id={plan}") is None:
        raise InputError(f"plan {plan}", "is neither a replay's folder nor a plan of the lake", "check its name")
    return lake.read(DATASET, [f"plan_id={plan}"])


def explain_cell(plan: str, sku: str, region: str) -> dict[str, Any]:
    """One SKU and region of a plan in words: units, price, what holds them back and what one more would bring.

    The sentence goes to stderr as well. Raises InputError where the plan has no such cell.
    """
    table = plan_table(plan)
    for name, value in (("sku_id", sku), ("region_id", region)):
        if value not in table[name].to_pylist():
            known = ", ".join(sorted(set(table[name].to_pylist()))[:8])
            raise InputError(
                f"plan {plan}", f"{value!r} is not in it", f"ask for one of {known}", field=name, row=value
            )
    row = table.filter(pc.and_(pc.equal(table["sku_id"], sku), pc.equal(table["region_id"], region))).to_pylist()[0]
    whole = _limits(plan)
    words = [str(row["explanation"])]
    words += [f"In the whole plan one more {_unit_of(name)} is worth {price:.2f}." for name, price in whole.items()]
    print(" ".join(words), file=sys.stderr, flush=True)
    shown = ("plan_id", "sku_id", "region_id", "allocate_units", "expected_sales", "expected_margin", "shadow_price")
    return {
        **{name: row[name] for name in shown},
        "offer_price": float(row["offer_price"]),
        "binding_constraints": [name for name in str(row["binding_constraints"]).split(",") if name],
        "shadow_prices": whole,
        "words": " ".join(words),
    }


def _limits(plan: str) -> dict[str, float]:
    """Shadow prices of the limits that the whole plan shares, where a replay wrote them down."""
    path = Path(plan) / PLAN
    if not path.is_file():
        return {}
    found: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))["plan"]["shadow_prices"]
    return found


def _unit_of(limit: str) -> str:
    """A unit of a limit that the whole plan shares, in words."""
    kind, _, place = limit.partition(":")
    return f"unit of space in {place}" if kind == "space" else f"unit of money in the {kind.replace('_', ' ')}"


def what_if(plan: str, changes: list[str]) -> dict[str, Any]:
    """A stored plan beside the plan of a changed request: units and money in total and by SKU and region.

    Nothing is stored. Raises InputError where a setting names no field, or the command ends with an error of its own.
    """
    inputs = Path(plan) / INPUTS
    if Path(plan).is_dir() and not inputs.is_dir():
        raise InputError(f"folder {plan}", "holds no plan", "name the --out folder of a replay")
    whose = ["--inputs", str(inputs.absolute())] if inputs.is_dir() else ["--plan-id", plan]
    asked = [word for change in changes for word in ("--set", change)]
    found = models_command("what-if", ["allocation", "what-if", *whose, *asked])
    for line in difference_lines(found):
        print(line, file=sys.stderr, flush=True)
    return found


def difference_lines(found: dict[str, Any]) -> list[str]:
    """The answer of `what_if` as a table of what changes, and the totals."""
    head = f"{'SKU':<14}{'region':<12}{'units':>16}{'price':>18}{'margin, ' + found['currency']:>24}"
    lines = [head]
    for row in found["rows"]:
        if row["units_change"] or row["price_change"]:
            lines.append(
                f"{row['sku_id']:<14}{row['region_id']:<12}"
                f"{row['units_before']:>7g} →{row['units_after']:>7g}"
                f"{row['price_before']:>9.2f} →{row['price_after']:>7.2f}"
                f"{row['margin_before']:>10.2f} →{row['margin_after']:>10.2f}"
            )
    if len(lines) == 1:
        lines = ["No cell changes."]
    before, after, change = found["before"], found["after"], found["difference"]
    lines.append(
        f"In total {before['units']} → {after['units']} units, expected profit {before['expected_profit']:.2f} → "
        f"{after['expected_profit']:.2f} {found['currency']} ({change['expected_profit']:+.2f})"
    )
    return lines
