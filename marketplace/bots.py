"""What the platform's cleaning would say of the posts' authors, for tables that are made without it."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from flashsale.authors import WINDOW_DAYS, authors

# Cleaning finds near-duplicates as well; simulated texts repeat one another letter for letter or not at all.
MARKED = f"""
with texts as (
  select event_at, text, post_id, author_id from social_posts
  union all select event_at, text, null, null from reviews
  union all select event_at, text, null, null from support_messages),
before as (
  select *, lag(event_at) over (partition by lower(text) order by event_at, post_id nulls first) as said_at from texts)
select post_id, author_id, event_at, event_at::date as day,
  case when said_at::date > event_at::date - {WINDOW_DAYS} then lower(text) end as duplicate_of
from before where post_id is not null order by event_at, post_id
"""
STREAMS = ("social_posts", "reviews", "support_messages")


def posts_by_people(streams: Mapping[str, pa.Table]) -> pa.Table:
    """The posts without those of authors who behave like machines that day, by the rule of `flashsale.authors`.

    Args:
        streams: at least `STREAMS`.

    Returns:
        The rows of `social_posts` that stay, in their order.
    """
    with duckdb.connect() as db:
        db.execute("set timezone = 'UTC'")
        for name in STREAMS:
            db.register(name, streams[name])
        marked = db.execute(MARKED).to_arrow_table()
    bots = []
    for day in pc.unique(marked["day"]):
        rows = marked.filter(pc.equal(marked["day"], day))
        known = authors(rows)
        names = known["author_id"].filter(known["is_bot_like"])
        bots.append(rows["post_id"].filter(pc.is_in(rows["author_id"], value_set=names)))
    posts = streams["social_posts"]
    if not bots:
        return posts
    gone = pa.chunked_array([chunk for part in bots for chunk in part.chunks], posts.schema.field("post_id").type)
    return posts.filter(pc.invert(pc.is_in(posts["post_id"], value_set=gone)))
