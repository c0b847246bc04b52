-- A watched sale's standing counts the units of its minutes, and a minute has no more moods than posts.
with minutes as (
    select
        campaign_id,
        sku_id,
        region_id,
        sum(units) as units
    from {{ ref('fct_live_minutes') }}
    where region_id is not null
    group by campaign_id, sku_id, region_id
)

select
    standing.campaign_id,
    standing.sku_id,
    standing.region_id
from {{ ref('fct_live_standing') }} as standing
inner join minutes
    on
        standing.campaign_id = minutes.campaign_id
        and standing.sku_id = minutes.sku_id
        and standing.region_id = minutes.region_id
where standing.units <> minutes.units
union all
select
    campaign_id,
    sku_id,
    region_id
from {{ ref('fct_live_minutes') }}
where negative + positive > posts
