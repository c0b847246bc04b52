"""Reading past sales from the warehouse and writing demand to the lake; no formula lives here."""

from __future__ import annotations

import hashlib
from typing import Any

import pandas as pd
import pyarrow as pa

from flashsale import warehouse
from flashsale.decision_tables import ALLOCATION_RECOMMENDATIONS, UNCONSTRAINED_DEMAND
from flashsale.errors import InputError
from flashsale.lake import Commit, Lake, content_hash
from flashsale.settings import settings
from flashsale.soundness import refuse_all_sold_out
from ml.demand.features import LOT
from ml.demand.lots import with_lots
from ml.demand.relatives import VECTOR, with_vectors
from ml.demand.unconstrain import CELL, first_choices, unconstrain

PLANS = "decisions/allocation_recommendations"
KEY_ORDER = "campaign_id, sku_id, region_id"
# A sale counts once the data hold all of its days: one half observed would look like weak demand.
ENDED = (
    "s.ends_at <= (select max(ordered_at) from marts.fct_orders)"
    " and cast(s.starts_at as date) >= (select cast(min(ordered_at) as date) from marts.fct_orders)"
)


def to_frame(table: pa.Table) -> pd.DataFrame:
    """A pandas frame in which decimals are floats and moments are UTC microseconds."""
    for i, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            table = table.set_column(i, field.name, table[field.name].cast(pa.float64()))
        elif pa.types.is_timestamp(field.type):
            table = table.set_column(i, field.name, table[field.name].cast(pa.timestamp("us", tz="UTC")))
    frame: pd.DataFrame = table.to_pandas()
    return frame


def ended_cells() -> pd.DataFrame:
    """Cells of sales that have ended, with category; InputError where there is none."""
    cells = to_frame(
        warehouse.read(
            f"""
            select s.*, p.category
            from marts.fct_sale_performance as s
            inner join marts.dim_products as p on s.sku_id = p.sku_id
            where {ENDED}
            order by {", ".join("s." + c for c in CELL)}
            """
        )
    )
    if cells.empty:
        raise InputError("past sales", "none has ended", "ingest campaigns and orders, then build the features")
    return cells


def sale_hours() -> pd.DataFrame:
    """Hours of all sales."""
    return to_frame(
        warehouse.read(
            f"""
            select campaign_id, sku_id, region_id, event_hour, units, in_stock_share, sold_out_views
            from marts.fct_sale_hours order by {KEY_ORDER}, event_hour
            """
        )
    )


def planned_rows() -> tuple[pd.DataFrame, str]:
    """`feat_demand` rows of past offers in a fixed order, and their content hash."""
    table = warehouse.read(f"select * from marts.feat_demand where row_kind = 'campaign' order by {KEY_ORDER}")
    return _titled(table)


def asked_rows(request_id: str) -> tuple[pd.DataFrame, str]:
    """`feat_demand` rows of one request and their content hash; InputError where it was not built."""
    table = warehouse.read(
        "select * from marts.feat_demand where row_kind = 'request' and campaign_id = ? order by sku_id, region_id",
        [request_id],
    )
    if not table.num_rows:
        raise InputError(
            f"sale request {request_id}",
            "the features hold no row of it (no such request, or every SKU in it is unknown)",
            "check its SKUs and regions, store it, and run the build_features DAG",
        )
    return _titled(table)


def _titled(table: pa.Table) -> tuple[pd.DataFrame, str]:
    """Rows with the vectors of their titles, and the content hash of both."""
    rows, digest = with_vectors(to_frame(table), Lake(settings().lake_uri)), content_hash(table)
    if VECTOR in rows:
        digest = hashlib.sha256(b"".join([digest.encode(), *rows[VECTOR].dropna().unique()])).hexdigest()
    return rows, digest


def unconstrained_cells() -> pd.DataFrame:
    """Unconstrained demand of every ended cell (see `unconstrain`)."""
    return unconstrain(ended_cells(), sale_hours())


def learning_rows() -> tuple[pd.DataFrame, str]:
    """`feat_demand` rows of ended sales with first choices as `demand`, prices by lot, and a hash of it all.

    Raises InputError where every past offer sold out.
    """
    rows, digest = planned_rows()
    demand = unconstrained_cells()
    refuse_all_sold_out(len(demand), int(demand["is_censored"].sum()))
    demand["demand"] = first_choices(demand)
    joined = rows.merge(demand[[*CELL, "demand"]], on=CELL, how="inner", validate="one_to_one")
    joined = with_lots(joined, published_plans())
    lots = joined.loc[joined[list(LOT)].notna().all(axis=1), [*CELL, *LOT]]
    marks = demand.to_csv(index=False) + ("" if lots.empty else lots.to_csv(index=False))
    return joined, hashlib.sha256(digest.encode() + marks.encode()).hexdigest()


def published_plans() -> pd.DataFrame:
    """Rows of all published plans, in the order of their partitions."""
    lake = Lake(settings().lake_uri)
    rows = [lake.read_one(manifest) for manifest in lake.partitions(PLANS).values()]
    rows = [table for table in rows if table.num_rows and table["status"][0].as_py() == "published"]
    return to_frame(pa.concat_tables([*rows, ALLOCATION_RECOMMENDATIONS.empty_table()], promote_options="default"))


def publish_unconstrained(frame: pd.DataFrame) -> Commit:
    """Commit `decisions/unconstrained_demand`, one partition."""
    rounded = frame.assign(units=frame["units"].round().astype("int64"))
    table = pa.Table.from_pandas(rounded, schema=UNCONSTRAINED_DEMAND, preserve_index=False)
    return Lake(settings().lake_uri).write(
        "decisions/unconstrained_demand", "scope=all", table.replace_schema_metadata(None)
    )


def address(commit: Commit) -> dict[str, Any]:
    """What a task hands on: address, rows, hash."""
    return {
        "address": commit.address,
        "rows": commit.rows,
        "content_hash": commit.content_hash,
        "changed": commit.changed,
    }
