"""The curve method on any hourly panel: series x day x hour, as a file in and a file out.

In: Parquet with `series_id`, `hour_start` (moment, UTC), `units`, `in_stock` (share of the hour, or a boolean),
and optionally `class_id` (series that share an hourly curve; one class by default). Out: `series_id`, `date`,
`units`, `demand`, `demand_p10`, `demand_p90`, `method`. Units that are not whole are taken as scaled: no unit is
taken off for the stock-out, and the interval is only indicative.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from flashsale.errors import InputError
from ml.demand.unconstrain import unconstrain

NEEDED = ("series_id", "hour_start", "units", "in_stock")


def unconstrain_panel(panel: pd.DataFrame) -> pd.DataFrame:
    """Daily demand of every series; raises InputError that names a missing column."""
    for name in NEEDED:
        if name not in panel.columns:
            raise InputError("hourly panel", "a column is missing", f"give {', '.join(NEEDED)}", field=name)
    moment = pd.to_datetime(panel["hour_start"], utc=True)
    hours = pd.DataFrame(
        {
            "campaign_id": moment.dt.strftime("%Y-%m-%d"),
            "sku_id": panel["series_id"].astype(str),
            "region_id": panel["class_id"].astype(str) if "class_id" in panel.columns else "all",
            "event_hour": moment.dt.hour,
            "units": panel["units"].astype(float),
            "in_stock_share": panel["in_stock"].astype(float),
        }
    )
    key = ["campaign_id", "sku_id", "region_id"]
    days = hours.groupby(key, sort=True).agg(units_sold=("units", "sum"), stock=("in_stock_share", "min")).reset_index()
    days = days.assign(
        is_sold_out=days["stock"] < 1.0,
        starts_at=pd.to_datetime(days["campaign_id"], utc=True),
        duration_hours=24.0,
        category=days["region_id"],
        promo_type="none",
    )
    whole = bool((hours["units"] == hours["units"].round()).all())
    out = unconstrain(days, hours, counts=whole).rename(columns={"campaign_id": "date", "sku_id": "series_id"})
    out["date"] = pd.to_datetime(out["date"]).dt.date
    columns = ["series_id", "date", "units", "demand", "demand_p10", "demand_p90", "method"]
    return out[columns].sort_values(["series_id", "date"], kind="stable").reset_index(drop=True)


def unconstrain_file(source: Path | None, out: Path | None) -> dict[str, Any]:
    """Read a panel, write its daily demand; returns counts."""
    if source is None or out is None:
        raise InputError("hourly panel", "only one of --in and --out is given", "give both")
    if not source.exists():
        raise InputError(f"hourly panel {source}", "there is no such file", "check --in")
    result = unconstrain_panel(pq.ParquetFile(source).read().to_pandas())  # read_table may abort at exit, arrow#34314
    result.to_parquet(out, index=False)
    print(f"{len(result)} series-days", file=sys.stderr)
    return {
        "out": str(out),
        "rows": len(result),
        "units": float(result.units.sum()),
        "demand": float(result.demand.sum()),
    }
