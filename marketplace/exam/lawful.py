"""Reference prices as the platform's warehouse finds them, from a simulated shop's own orders.

The audit must not lean on the feature rows that planners plan from: these know the lowest price of thirty days alone,
whatever days a request asks for.
"""

from __future__ import annotations

import duckdb
import pandas as pd
import pyarrow as pa

from flashsale.request import SaleRequest

LOWEST = """
with lines as (  -- an order's later states repeat its line
  select sku_id, min(event_at) as ordered_at, max(unit_price)::double as unit_price
  from orders group by order_id, sku_id, region_id, campaign_id)
select sku_id, min(unit_price) as lowest from lines
where ordered_at >= ?::timestamptz - to_days(?) and ordered_at < ?::timestamptz group by sku_id
"""


def reference_prices(
    orders: pa.Table, request: SaleRequest, frames: dict[str, pd.DataFrame]
) -> dict[str, tuple[float, float]]:
    """By SKU: (list price, lowest price paid in the request's look-back days, infinity where none was).

    Days end at the cutoff of the request's features. No days hold no price, and the law sets no limit.

    Args:
        orders: the shop's stream of orders.
        request: what was asked for.
        frames: the shop's decision tables (see `marts.build_marts`).
    """
    features, listed = frames["features"], frames["products"]
    cutoff = features.loc[features["row_kind"] == "request", "cutoff_at"].min().to_pydatetime()
    with duckdb.connect() as db:
        db.execute("set timezone = 'UTC'")
        db.register("orders", orders)
        lowest = dict(db.execute(LOWEST, [cutoff, request.price_lookback_days, cutoff]).fetchall())
    pairs = zip(listed["sku_id"], listed["list_price"], strict=True)
    return {str(sku): (float(price), float(lowest.get(sku, float("inf")))) for sku, price in pairs}
