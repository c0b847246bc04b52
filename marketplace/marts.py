"""Decision tables of a simulated shop by plain SQL that shares nothing with the dbt models.

They have the columns of the marts that planning reads (`fct_sale_performance`, hourly and daily sales, text signals,
`feat_demand`), so that a planner can be examined on many shops in seconds each, and the dbt models have an oracle.
"""

from __future__ import annotations

import duckdb
import pandas as pd
import pyarrow as pa

from flashsale.corpora import load_sentences
from flashsale.request import SaleRequest, load_request
from marketplace.bots import posts_by_people
from marketplace.shop import Shop

OFFERS = """
create table versions as select * from catalog;
create or replace table catalog as
select * from versions qualify row_number() over (partition by sku_id order by event_at desc) = 1;
create table offers as
select c.*, epoch(ends_at - starts_at) / 3600.0 as duration_hours, p.list_price, p.unit_cost, p.category, p.brand,
       p.launched_at, r.shipping_cost, r.capacity_units,
       (select min(i.event_at) from inventory i where i.sku_id = c.sku_id and i.region_id = c.region_id
          and i.on_hand = 0 and i.event_at >= c.starts_at and i.event_at < c.ends_at) as sold_out_at
from campaigns c asof join versions p on c.sku_id = p.sku_id and c.starts_at >= p.event_at
  join regions r using (region_id);
create table lines as
select order_id, min(event_at) as ordered_at, sku_id, region_id, campaign_id, max(quantity) as quantity,
       max(unit_price) as unit_price, max(paid_amount) as paid, bool_or(status = 'cancelled') as cancelled,
       bool_or(status = 'returned') as returned
from orders group by all;
"""
PERFORMANCE = """
select o.campaign_id, o.sku_id, o.region_id, o.promo_type, o.offer_price::double offer_price,
       o.list_price::double list_price, o.unit_cost::double unit_cost, o.shipping_cost::double shipping_cost,
       o.allocated_units, o.starts_at, o.ends_at, o.duration_hours,
       coalesce(sum(l.quantity) filter (where not l.cancelled), 0)::bigint as units_sold,
       coalesce(sum(l.quantity) filter (where l.returned), 0)::bigint as units_returned,
       coalesce(sum(l.paid) filter (where not l.cancelled), 0)::double as revenue,
       coalesce(sum(l.paid) filter (where l.returned), 0)::double as refunds,
       o.sold_out_at, o.sold_out_at is not null as is_sold_out
from offers o left join lines l using (campaign_id, sku_id, region_id) group by all order by 1, 2, 3
"""
HOURS = """
with h as (select o.*, unnest(range(duration_hours::int)) as event_hour from offers o),
seen as (select o.campaign_id, o.sku_id, o.region_id, floor(epoch(t.event_at - o.starts_at) / 3600) as event_hour,
           count(*) as sold_out_views
         from traffic t join offers o on o.campaign_id = t.campaign_id and o.sku_id = t.sku_id
           and o.region_id = t.region_id
         where t.action = 'sold_out_view' group by 1, 2, 3, 4)
select h.campaign_id, h.sku_id, h.region_id, h.event_hour::int as event_hour,
       coalesce(sum(l.quantity), 0)::bigint as units,
       coalesce(any_value(v.sold_out_views), 0)::bigint as sold_out_views,
       any_value(case when h.sold_out_at is null then 1.0 else
         greatest(0, least(1, epoch(h.sold_out_at - h.starts_at) / 3600.0 - h.event_hour)) end) as in_stock_share
from h left join lines l on l.campaign_id = h.campaign_id and l.sku_id = h.sku_id and l.region_id = h.region_id
  and not l.cancelled and floor(epoch(l.ordered_at - h.starts_at) / 3600) = h.event_hour
  left join seen v on v.campaign_id = h.campaign_id and v.sku_id = h.sku_id and v.region_id = h.region_id
  and v.event_hour = h.event_hour
group by 1, 2, 3, 4 order by 1, 2, 3, 4
"""
DAILY = """
with d as (select unnest(range(min(ordered_at)::date, max(ordered_at)::date + 1, interval 1 day))::date as sales_date
           from lines),
s as (select ordered_at::date as sales_date, sku_id, region_id, sum(quantity) as units, sum(paid)::double as revenue
      from lines where not cancelled group by all)
select d.sales_date, c.sku_id, r.region_id, coalesce(s.units, 0)::bigint as units,
       coalesce(s.revenue, 0)::double as revenue, c.list_price::double as list_price,
       exists (select 1 from offers o where o.sku_id = c.sku_id and o.region_id = r.region_id
          and d.sales_date >= o.starts_at::date and d.sales_date < o.ends_at) as in_campaign
from d cross join catalog c cross join regions r
left join s on s.sales_date = d.sales_date and s.sku_id = c.sku_id and s.region_id = r.region_id
where d.sales_date >= c.launched_at::date
  and d.sales_date >= (select min(f.ordered_at)::date from lines f
                       where f.sku_id = c.sku_id and f.region_id = r.region_id)
order by 2, 3, 1
"""
SIGNALS = """
select day as signal_date, sku_id, sum(voice) as text_count,
       sum(voice * (sentiment = 'positive')::int) / sum(voice) as positive_share,
       sum(voice * (sentiment = 'negative')::int) / sum(voice) as negative_share,
       sum(voice * tone) / sum(voice) as sentiment_mean, sum(voice * p_intent)::double as intent_sum,
       coalesce(sum(voice) filter (where post), 0) as post_count,
       coalesce(sum(voice * tone) filter (where post), 0)::double as post_sentiment_sum,
       coalesce(sum(voice * p_intent) filter (where post), 0)::double as post_intent_sum
from (select t.*, s.sentiment, s.p_intent, (s.sentiment = 'positive')::int - (s.sentiment = 'negative')::int as tone
      from (select event_at::date as day, sku_id, text, true as post,
                   1.0::double / count(*) over (partition by author_id, event_at::date) as voice from social_posts
            union all select event_at::date, sku_id, text, false, 1.0 from reviews) t
      join scores s on t.text = s.text)
where sku_id is not null group by all
"""
FEATURES = """
with plan as (
  select 'campaign' as row_kind, campaign_id, sku_id, region_id, starts_at, ends_at,
         starts_at - interval 24 hour as cutoff_at, promo_type, offer_price::double as offer_price, allocated_units
  from offers
  union all select 'request', request_id, sku_id, region_id, starts_at, ends_at, cutoff_at, null, null, null from asked
),
rates as (
  select p.sku_id, cutoff_at, d.region_id,
    avg(units) filter (where not in_campaign and sales_date >= cutoff_at::date - 28) as month,
    avg(units) filter (where not in_campaign and sales_date >= cutoff_at::date - 7) as week,
    avg(units) filter (where not in_campaign) as half_year
  from (select distinct sku_id, cutoff_at from plan) p join daily d on d.sku_id = p.sku_id
    and sales_date >= cutoff_at::date - 182 and sales_date < cutoff_at::date
  group by all),
base as (
  select row_kind, p.campaign_id, p.sku_id, p.region_id,
    coalesce(any_value(month) filter (where r.region_id = p.region_id), 0) as base_units_28d,
    coalesce(any_value(week) filter (where r.region_id = p.region_id), 0) as base_units_7d,
    coalesce(any_value(half_year) filter (where r.region_id = p.region_id), 0) as base_units_182d,
    coalesce(sum(month::decimal(18, 9)), 0)::double as base_units_28d_all
  from plan p join rates r using (sku_id, cutoff_at) group by all),
seen as (
  select row_kind, p.campaign_id, p.sku_id, p.region_id,
    count(*) filter (where action = 'view' and event_at >= cutoff_at - interval 7 day) as views_7d,
    count(*) filter (where action = 'view') as views_28d,
    count(*) filter (where action = 'cart' and event_at >= cutoff_at - interval 7 day) as carts_7d,
    count(*) filter (where action = 'favourite' and event_at >= cutoff_at - interval 7 day) as favourites_7d,
    count(*) filter (where action = 'notify_me' and event_at >= cutoff_at - interval 7 day) as notify_me_7d
  from plan p join traffic t on t.sku_id = p.sku_id and t.region_id = p.region_id
    and event_at < cutoff_at and event_at >= cutoff_at - interval 28 day group by all),
words as (
  select row_kind, p.campaign_id, p.sku_id, p.region_id,
    sum(text_count) filter (where signal_date >= cutoff_at::date - 7) as text_count_7d,
    sum(text_count) as text_count_28d,
    sum(sentiment_mean * text_count) filter (where signal_date >= cutoff_at::date - 7)
      / sum(text_count) filter (where signal_date >= cutoff_at::date - 7) as sentiment_7d,
    sum(sentiment_mean * text_count) / sum(text_count) as sentiment_28d,
    sum(negative_share * text_count) filter (where signal_date >= cutoff_at::date - 7)
      / sum(text_count) filter (where signal_date >= cutoff_at::date - 7) as negative_share_7d,
    sum(intent_sum) filter (where signal_date >= cutoff_at::date - 7) as intent_sum_7d,
    sum(intent_sum) / sum(text_count) as intent_mean_28d
  from plan p join signals s on s.sku_id = p.sku_id
    and signal_date >= cutoff_at::date - 28 and signal_date < cutoff_at::date
  group by all),
fresh as (
  select row_kind, p.campaign_id, p.sku_id, p.region_id, any_value(cutoff_at)::date as until,
    greatest(until - 7, coalesce((max(o.starts_at) + interval 1 day - interval 1 microsecond)::date, until - 7))
      as since
  from plan p left join offers o on o.sku_id = p.sku_id and o.starts_at < p.cutoff_at
  group by row_kind, p.campaign_id, p.sku_id, p.region_id),
posts as (
  select row_kind, campaign_id, f.sku_id, region_id, greatest(any_value(until - since), 0) as post_days,
    coalesce(sum(post_count), 0) as post_count,
    coalesce(sum(post_sentiment_sum), 0) as post_sentiment_sum, coalesce(sum(post_intent_sum), 0) as post_intent_sum
  from fresh f left join signals s on s.sku_id = f.sku_id and signal_date >= since and signal_date < until
  group by row_kind, campaign_id, f.sku_id, region_id),
cheap as (
  select row_kind, p.campaign_id, p.sku_id, p.region_id, min(unit_price)::double as lowest_price_30d
  from plan p join lines l on l.sku_id = p.sku_id
    and ordered_at < cutoff_at and ordered_at >= cutoff_at - interval 30 day
  group by all),
past as (
  select row_kind, p.campaign_id, p.sku_id, p.region_id, count(*) as past_sale_count,
    arg_max(s.units_sold, s.ends_at) as last_sale_units, avg(s.units_sold) as mean_sale_units,
    arg_max(s.offer_price, s.ends_at) as last_sale_price, arg_max(s.is_sold_out, s.ends_at) as last_sale_sold_out,
    epoch(any_value(p.starts_at) - max(s.ends_at)) / 86400.0 as days_since_last_sale
  from plan p join performance s on s.sku_id = p.sku_id and s.region_id = p.region_id and s.ends_at <= p.cutoff_at
  group by all)
select p.*, epoch(p.ends_at - p.starts_at) / 3600.0 as duration_hours,
  extract(hour from p.starts_at)::int as start_hour,
  isodow(p.starts_at)::int as start_weekday, c.title, c.category, c.brand, c.list_price::double as list_price,
  c.unit_cost::double as unit_cost, r.capacity_units, epoch(p.starts_at - c.launched_at) / 86400.0 as age_days,
  columns(base.* exclude (row_kind, campaign_id, sku_id, region_id)),
  columns(seen.* exclude (row_kind, campaign_id, sku_id, region_id)),
  columns(words.* exclude (row_kind, campaign_id, sku_id, region_id)),
  columns(posts.* exclude (row_kind, campaign_id, sku_id, region_id)),
  cheap.lowest_price_30d, columns(past.* exclude (row_kind, campaign_id, sku_id, region_id))
from plan p asof join (select * exclude (event_at), event_at as cutoff_at from versions) c using (sku_id, cutoff_at)
join regions r using (region_id)
left join base using (row_kind, campaign_id, sku_id, region_id)
left join seen using (row_kind, campaign_id, sku_id, region_id)
left join words using (row_kind, campaign_id, sku_id, region_id)
left join posts using (row_kind, campaign_id, sku_id, region_id)
left join cheap using (row_kind, campaign_id, sku_id, region_id)
left join past using (row_kind, campaign_id, sku_id, region_id)
order by row_kind, campaign_id, sku_id, region_id
"""
LABELS = """
select text, sentiment,
  regexp_matches(lower(text), '想买|要买|值得买|购买|want|buy|bought|recommend')::int as p_intent from sentences
"""
PRODUCTS = """
select sku_id, category, brand, list_price::double list_price, unit_cost::double unit_cost from catalog
"""
REGIONS = """
select region_id, warehouse_id, capacity_units, shipping_cost::double shipping_cost from regions
"""
MARTS = {
    "performance": PERFORMANCE,
    "hours": HOURS,
    "daily": DAILY,
    "signals": SIGNALS,
    "features": FEATURES,
}
ZERO = (
    "views_7d",
    "views_28d",
    "carts_7d",
    "favourites_7d",
    "notify_me_7d",
    "text_count_7d",
    "text_count_28d",
    "sentiment_7d",
    "sentiment_28d",
    "negative_share_7d",
    "intent_sum_7d",
    "intent_mean_28d",
    "past_sale_count",
)


def label_scores() -> pa.Table:
    """What the public corpora's labels say of every sentence: text, sentiment, p_intent (0 or 1)."""
    with duckdb.connect() as db:
        db.register("sentences", load_sentences())
        return db.execute(LABELS).to_arrow_table()


def build_marts(shop: Shop, scores: pa.Table | None = None) -> dict[str, pd.DataFrame]:
    """Decision tables of a shop.

    Args:
        shop: a simulated shop.
        scores: what a model says of each different text: text, sentiment, p_intent; by default the corpora's labels.
            Texts without a score are left out of the signals, and so are posts of authors who behave like machines.

    Returns:
        `performance` (campaign x SKU x region), `hours` (that x hour), `daily` (SKU x region x day), `signals` (SKU x
        day), `features` (campaign or request x SKU x region), `products`, `regions`.
    """
    request = load_request(dict(shop.request))
    frames: dict[str, pd.DataFrame] = {}
    with duckdb.connect() as db:
        db.execute("set timezone = 'UTC'")
        db.execute("set enable_progress_bar = false")  # it would fill an exam's stderr
        people = {"social_posts": posts_by_people(shop.streams)}
        known = {"scores": label_scores() if scores is None else scores}
        for name, table in {**shop.streams, **people, **known}.items():
            db.register(f"raw_{name}", table)
            db.execute(f"create table {name} as select * from raw_{name}")
        db.register("raw_asked", _asked(request))
        db.execute("create table asked as select * from raw_asked")
        db.execute(OFFERS)
        for name, sql in MARTS.items():
            db.execute(f"create table {name} as {sql}")
            frames[name] = db.execute(f"select * from {name}").df()
        for name, sql in (("products", PRODUCTS), ("regions", REGIONS)):
            frames[name] = db.execute(sql).df()
    frames["features"][list(ZERO)] = frames["features"][list(ZERO)].fillna(0.0)
    return frames


def _asked(request: SaleRequest) -> pd.DataFrame:
    start = pd.Timestamp(request.start_slots[0])
    rows = [(request.request_id, s.sku_id, r.region_id) for s in request.skus for r in request.regions]
    frame = pd.DataFrame(rows, columns=["request_id", "sku_id", "region_id"])
    assert request.as_of is not None  # a simulated shop always says when it asked
    cutoff = min(start - pd.Timedelta(hours=24), pd.Timestamp(request.as_of))
    return frame.assign(starts_at=start, ends_at=start + pd.Timedelta(hours=request.duration_hours), cutoff_at=cutoff)
