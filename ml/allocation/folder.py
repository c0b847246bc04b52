"""A plan from a folder of decision tables: no lake, no warehouse, no registry, the same model and solver.

The folder holds `request.json` (or `.yaml`) and Parquet tables with the columns of the marts: `performance`
(`fct_sale_performance`), `hours` (units and share in stock by hour of each past offer), `features` (`feat_demand`:
past offers and the request's rows), `products` (`sku_id`, `category`) and `regions` (`region_id`, `shipping_cost`).
A table `plans` (rows of `allocation_recommendations` of earlier plans) may be there: prices that they drew by lot are
learnt from. Written beside them: `demand.parquet` (past demand, corrected), and for each kind of model
`plan_<kind>.parquet`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from flashsale.errors import InputError
from flashsale.request import SaleRequest, load_request
from ml.allocation.audit import audit_plan
from ml.allocation.ladder import lawful_ladder
from ml.allocation.plan import Inputs, Planned, make_plan, plan_rows, with_experiment
from ml.allocation.store import past_lifts
from ml.demand import level
from ml.demand.files import read_panel
from ml.demand.lots import with_lots
from ml.demand.unconstrain import CELL, first_choices, unconstrain

ROWS_LOOK_BACK = 30  # days, of the column `lowest_price_30d`
KINDS = ("text", "plain")  # with the texts' features, and without
PLANS = "plans"  # optional
TABLES = ("performance", "hours", "features", "products", "regions")


def plan_folder(folder: Path, kinds: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Plan the folder's request once for each kind of model.

    Args:
        folder: as the module says.
        kinds: of `KINDS`.
        seed: of models, scenarios and prices by lot.

    Returns:
        `units`, `expected_profit`, `gap` and `experiment_skus` of each kind.

    Raises:
        InputError: naming the file that is missing or cannot be read, or the request's field.
        RuntimeError: where a plan broke its own limits.
    """
    request, frames = _request(folder), {name: read_panel(folder / f"{name}.parquet") for name in TABLES}
    demand = past_demand(frames)
    _write(demand, folder / "demand.parquet")
    if (folder / f"{PLANS}.parquet").is_file():
        frames["features"] = with_lots(frames["features"], read_panel(folder / f"{PLANS}.parquet"))
    inputs = inputs_from(request, frames, demand)
    data = level.training_set(inputs.history, inputs.history["demand"].to_numpy(dtype=float))
    answer = {}
    for kind in kinds:
        heads = level.fit(data, with_text=kind == "text", seed=seed)
        planned = with_experiment(make_plan(inputs, heads, seed), request, seed)
        answer[kind] = _finish(folder / f"plan_{kind}.parquet", inputs, planned)
    return answer


def past_demand(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Corrected demand of past offers (see `unconstrain`) from the tables `TABLES`."""
    cells = frames["performance"].merge(frames["products"][["sku_id", "category"]], on="sku_id")
    return unconstrain(cells, frames["hours"])


def past_offers(frames: dict[str, pd.DataFrame], demand: pd.DataFrame) -> pd.DataFrame:
    """Feature rows of past offers with first choices as `demand`, from `features` and `past_demand`."""
    features = frames["features"]
    wanted = demand[CELL].assign(demand=first_choices(demand))
    return features[features["row_kind"] == "campaign"].merge(wanted, on=CELL)


def inputs_from(request: SaleRequest, frames: dict[str, pd.DataFrame], demand: pd.DataFrame) -> Inputs:
    """What a plan is made from; its `history` holds first choices as `demand`.

    Raises InputError where the request looks back on other days than the rows do.
    """
    _check_days(request)
    features, past = frames["features"], past_offers(frames, demand)
    asked = features[features["row_kind"] == "request"]
    lowest = {sku: pair[1] for sku, pair in reference_prices(asked).items()}
    shipping = {str(r): float(c) for r, c in frames["regions"].set_index("region_id")["shipping_cost"].items()}
    return Inputs(request, asked, past_lifts(past), lawful_ladder(request, lowest), shipping)


def reference_prices(rows: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """List price and lowest price of `ROWS_LOOK_BACK` days by SKU, of a request's feature rows."""
    own = rows.groupby("sku_id")[["list_price", "lowest_price_30d"]].min().fillna(float("inf"))
    return {str(sku): (float(row.iloc[0]), float(row.iloc[1])) for sku, row in own.iterrows()}


def _check_days(request: SaleRequest) -> None:
    if request.price_lookback_days not in (0, ROWS_LOOK_BACK):
        raise InputError(
            f"sale request {request.request_id}",
            f"it looks back {request.price_lookback_days} days, the feature rows of a folder {ROWS_LOOK_BACK}",
            f"give {ROWS_LOOK_BACK}, or 0 for no law, or plan from the warehouse, which knows every day",
            field="price_lookback_days",
        )


def _finish(path: Path, inputs: Inputs, planned: Planned) -> dict[str, Any]:
    rows = plan_rows(inputs, planned, None)
    faults = audit_plan(rows, inputs.request, reference_prices(inputs.rows))
    if faults:
        raise RuntimeError("the planner broke its own limits: " + "; ".join(faults))
    _write(rows, path)
    return {
        "units": int(rows["allocate_units"].sum()),
        "expected_profit": round(float(rows["expected_margin"].sum()), 2),
        "gap": round(planned.solution.gap, 6),
        "experiment_skus": len(planned.experiment.arms),
    }


def _request(folder: Path) -> SaleRequest:
    for path in (folder / "request.json", folder / "request.yaml"):
        if path.is_file():
            return load_request(path.read_text(encoding="utf-8") if path.suffix == ".json" else path)
    raise InputError(f"folder {folder}", "holds no request.json or request.yaml", "put the sale request there")


def _write(frame: pd.DataFrame, path: Path) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, path, compression="zstd")
