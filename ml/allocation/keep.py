"""What a plan was solved from, as a folder: enough to solve it again elsewhere, or another request in its place.

`request.json`, `rows.parquet` (feature rows), `history.parquet` (past cells with their lift), `facts.json` (lowest
and list prices, shipping costs, seed), `curves.parquet` (expected share of demand by hour of the sale) and the two
demand models. Nothing in it is pickled.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from flashsale.errors import InputError
from flashsale.request import SaleRequest, load_request
from ml.allocation.ladder import lawful_ladder
from ml.allocation.plan import Inputs
from ml.demand import heads as hd
from ml.demand.relatives import VECTOR

CURVES = ["category", "promo_type", "starts_at", "hour", "share"]
#: Columns of past cells that features of a request are made from (`ml.demand.features.past_cells`), those there are.
HISTORY = ["sku_id", "region_id", "category", "list_price", "ends_at", "lift", "log_daily_units", VECTOR]


@dataclass(frozen=True)
class Kept:
    """A plan's inputs and models as they were read back; `facts` and `curves` as `save` took them."""

    inputs: Inputs
    with_text: hd.LevelHeads
    without_text: hd.LevelHeads
    facts: dict[str, Any]
    curves: pd.DataFrame

    def heads(self) -> hd.LevelHeads:
        """The model the plan was made by."""
        return self.without_text if self.facts["plain"] else self.with_text

    def asked(self, request: SaleRequest) -> Inputs:
        """The inputs with another request in its place; InputError where no price of a SKU is lawful."""
        own = self.inputs
        ladder = lawful_ladder(request, _lowest(self.facts))
        return Inputs(request, own.rows, own.history, ladder, own.shipping)


def save(
    folder: Path, inputs: Inputs, with_text: hd.LevelHeads, without: hd.LevelHeads, facts: dict[str, Any],
    curves: pd.DataFrame,
) -> None:  # fmt: skip
    """Write the folder, which must not exist.

    Args:
        facts: `plan_id`, `plain` (made without text), `seed`, `prices` (by SKU, list price and lowest price).
        curves: columns `CURVES`, expected share of demand by hour of every offer that may be made.
    """
    folder.mkdir(parents=True)
    (folder / "request.json").write_text(inputs.request.canonical_json() + "\n", encoding="utf-8")
    inputs.rows.to_parquet(folder / "rows.parquet", index=False)
    inputs.history.filter(HISTORY).to_parquet(folder / "history.parquet", index=False)
    curves.to_parquet(folder / "curves.parquet", index=False)
    whole = {**facts, "shipping": inputs.shipping}
    (folder / "facts.json").write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    hd.save(with_text, folder / "model_text")
    hd.save(without, folder / "model_plain")


def read(folder: Path) -> Kept:
    """A saved folder; InputError where it is none."""
    if not (folder / "facts.json").is_file():
        raise InputError(f"plan inputs {folder}", "the folder holds none", "name a folder that a replay wrote")
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    request = load_request((folder / "request.json").read_text(encoding="utf-8"))
    rows, history = (_frame(folder / f"{name}.parquet") for name in ("rows", "history"))
    shares = folder / "curves.parquet"  # a folder of an older version has none: what-if does without
    curves = _frame(shares) if shares.is_file() else pd.DataFrame(columns=CURVES)
    inputs = Inputs(request, rows, history, lawful_ladder(request, _lowest(facts)), facts["shipping"])
    return Kept(inputs, hd.load(folder / "model_text"), hd.load(folder / "model_plain"), facts, curves)


def _frame(path: Path) -> pd.DataFrame:
    frame: pd.DataFrame = pq.ParquetFile(path).read().to_pandas()
    return frame


def _lowest(facts: dict[str, Any]) -> dict[str, float]:
    """Lowest price of the look-back days by SKU; SKUs without one are not bound."""
    return {sku: float(pair[1]) for sku, pair in facts["prices"].items() if pair[1] is not None}
