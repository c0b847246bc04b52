"""What a replay must know of its streams as a whole: which are missing, what that costs, what cannot be planned on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from flashsale.contracts import load_contract
from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.request import SaleRequest, check_known
from flashsale.soundness import refuse_currencies, refuse_silent_campaign, refuse_unknown_offer

TEXTS = ("reviews", "social_posts", "support_messages")
#: What a plan loses with each stream that may be missing.
LOST = {
    "regions": "shipping costs count as 0 and every region has a warehouse of its own",
    "traffic": "views, carts and visits to sold-out pages are unknown to the forecast and to the correction of sales",
    "reviews": "no reviews among the text signals",
    "social_posts": "no posts among the text signals: what people announce before a sale is not heard",
    "support_messages": "no support messages among the text signals",
}


def missing_streams(outcomes: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Streams that the source lacks or that are empty, each with what is lost by it."""
    return {name: LOST[name] for name, found in outcomes.items() if name in LOST and not found["rows"]}


def stand_in_regions(lake: Lake, request: SaleRequest) -> None:
    """Commit a record for every region of the offers and the request, for a source that has no such stream."""
    offers = lake.read("raw/campaigns", columns=["region_id", "event_at"])
    names = sorted({*offers["region_id"].to_pylist(), *(r.region_id for r in request.regions)})
    first = min(offers["event_at"].to_pylist(), default=datetime(2000, 1, 1, tzinfo=UTC))
    rows = [
        {
            "event_id": f"stand-in-{name}",
            "event_at": first,
            "region_id": name,
            "warehouse_id": name,
            "name": name,
            "capacity_units": 0,
            "shipping_cost": 0,
        }
        for name in names
    ]
    contract = load_contract("regions")
    table = pa.Table.from_pylist(rows, schema=contract.arrow_schema())
    lake.write("raw/regions", f"date={first:%Y-%m-%d}", table, contract_version=contract.version)


def check_streams(lake: Lake, request: SaleRequest) -> None:
    """Raise InputError for the first thing that no plan could rest on, naming its field and row.

    SKUs and regions of the request that no record knows, money in several currencies, offers of a SKU without a cost,
    and ended campaigns that sold stock without a single order (their orders were not delivered, or lack the campaign's
    name).
    """
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for stream in ("catalog", "campaigns", "orders"):
            files = [lake.address(m) for m in lake.partitions(f"raw/{stream}").values() if m.rows]
            if not files:
                raise InputError(
                    f"stream {stream}", "holds no record before the request's as_of", "deliver its history"
                )
            connection.read_parquet(files).create_view(stream)
        skus = {sku for (sku,) in connection.execute("SELECT DISTINCT sku_id FROM catalog").fetchall()}
        check_known(request, skus, set(lake.read("raw/regions", columns=["region_id"])["region_id"].to_pylist()))
        found = connection.execute("SELECT currency, min(sku_id) FROM catalog GROUP BY 1 ORDER BY 1").fetchall()
        refuse_currencies(found, request)
        unknown = "SELECT min(sku_id) FROM campaigns WHERE sku_id NOT IN (SELECT sku_id FROM catalog)"
        refuse_unknown_offer(connection.execute(unknown).fetchall()[0][0])
        refuse_silent_campaign(_orders_of_campaigns(connection))


def _orders_of_campaigns(connection: Any) -> str | None:
    """The first campaign without orders; it counts as ended once an order of any kind is later than its end."""
    row = connection.execute(
        """
        SELECT campaign_id FROM campaigns
        GROUP BY campaign_id
        HAVING max(ends_at) <= (SELECT max(event_at) FROM orders) AND sum(allocated_units) > 0
            AND campaign_id NOT IN (SELECT campaign_id FROM orders WHERE campaign_id IS NOT NULL)
        ORDER BY min(starts_at), campaign_id LIMIT 1
        """
    ).fetchone()
    return None if row is None else str(row[0])
