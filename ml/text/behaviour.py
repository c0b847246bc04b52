"""What writers did after they wrote: acts in the shop are witnesses of purchase intent that no rule has.

Two witnesses: `bought` (the writer ordered or carted the very SKU of the text within `window_days` after it) and
`wished` (favourited it, or asked to be told of it). Whoever came back to the shop in that time and did not is a no;
whoever never came back, or whose window is still open, is silent. Acts before the text never count, nor does anything
after `as_of`: what the text announced, not what led to it. An order that was cancelled is none.

Reviews and customers' messages carry the shop's own pseudonym of the writer; authors of social posts are other
platforms' and cannot be matched, so posts have no such vote.
"""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from flashsale.errors import InputError
from flashsale.lake import Lake

#: One row per text with a known writer: `bought` and `wished` are 1, 0 or null (nothing can be said).
OUTCOMES = pa.schema(
    [
        ("event_id", pa.string()),
        ("written_at", pa.timestamp("us", tz="UTC")),
        ("stream", pa.string()),
        ("text", pa.string()),
        ("language", pa.string()),
        ("bought", pa.int8()),
        ("wished", pa.int8()),
    ]
)
_WRITERS = {"reviews": ["event_id", "user_id", "sku_id"], "support_messages": ["event_id", "user_id", "sku_id", "role"]}
_CLEAN_COLUMNS = ["event_id", "event_at", "stream", "clean_text", "language", "duplicate_of"]
_ORDER_COLUMNS = ["event_at", "order_id", "line_no", "user_id", "sku_id", "status"]

_QUERY = """
with latest_orders as (  -- an order line counts as what its last event before the cutoff says
    select user_id, sku_id, min(event_at) as event_at, arg_max(status, event_at) as status
    from orders where event_at <= $as_of group by order_id, line_no, user_id, sku_id
),
acts as (
    select user_id, sku_id, event_at, 'order' as action from latest_orders where status <> 'cancelled'
    union all
    select user_id, sku_id, event_at, action from traffic where event_at <= $as_of
),
texts as (
    select w.event_id, c.event_at as written_at, w.stream, w.user_id, w.sku_id, c.clean_text as text, c.language
    from writers as w join clean as c on w.event_id = c.event_id and w.stream = c.stream
    where c.clean_text is not null and c.duplicate_of is null and w.sku_id is not null and c.event_at <= $as_of
),
followed as (
    select
        t.event_id,
        t.stream,
        count(a.user_id) as seen,
        count(*) filter (where a.sku_id = t.sku_id and a.action in ('order', 'cart')) as bought,
        count(*) filter (where a.sku_id = t.sku_id and a.action in ('favourite', 'notify_me')) as wished,
        t.written_at + to_days($days) <= $as_of as is_closed
    from texts as t
    left join acts as a
        on a.user_id = t.user_id and a.event_at > t.written_at and a.event_at <= t.written_at + to_days($days)
    group by t.event_id, t.stream, t.written_at
)
select
    t.event_id, t.written_at, t.stream, t.text, t.language,
    cast(case when f.bought > 0 then 1 when f.seen > 0 and f.is_closed then 0 end as tinyint) as bought,
    cast(case when f.wished > 0 then 1 when f.seen > 0 and f.is_closed then 0 end as tinyint) as wished
from texts as t join followed as f on t.event_id = f.event_id and t.stream = f.stream
order by t.written_at, t.event_id
"""


def outcomes(lake: Lake, *, as_of: datetime | None = None, window_days: int = 14) -> pa.Table:
    """Rows of `OUTCOMES` of the lake's clean texts.

    Args:
        as_of: what was known then counts; None: the newest order or action.
        window_days: how long after a text an act may be its outcome.

    Raises InputError where clean text, orders or traffic are not committed.
    """
    import duckdb

    if window_days < 1:
        raise InputError("weak labels", "the window has no day", "give 1 or more", field="window_days")
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.register("clean", lake.read("text/clean", columns=_CLEAN_COLUMNS))
        connection.register("orders", lake.read("raw/orders", columns=_ORDER_COLUMNS))
        connection.register("traffic", lake.read("raw/traffic", columns=["event_at", "user_id", "sku_id", "action"]))
        connection.register("writers", _writers(lake))
        newest = "select max(event_at) from (select event_at from orders union all select event_at from traffic)"
        until = as_of or (connection.execute(newest).fetchone() or (None,))[0]
        found = connection.execute(_QUERY, {"as_of": until, "days": window_days}).to_arrow_table()
    return found.cast(OUTCOMES)


def _writers(lake: Lake) -> pa.Table:
    """Writer and SKU of every text whose writer the shop knows: reviewers, and customers in conversations."""
    parts = []
    for stream, columns in _WRITERS.items():
        if not lake.partitions(f"raw/{stream}"):
            continue
        rows = lake.read(f"raw/{stream}", columns=columns)
        if "role" in columns:
            rows = rows.filter(pc.equal(rows["role"], "customer"))
        stated = pa.array([stream] * rows.num_rows, pa.string())
        parts.append(rows.select(["event_id", "user_id", "sku_id"]).append_column("stream", stated))
    if not parts:
        raise InputError("weak labels", "the lake holds neither reviews nor messages", "ingest one of the streams")
    return pa.concat_tables(parts, promote_options="default")
