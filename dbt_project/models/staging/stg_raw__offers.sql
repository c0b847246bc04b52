-- The newest version of an offer is the offer that ran.
with versions as (
    select
        event_at as announced_at,
        campaign_id,
        sku_id,
        region_id,
        promo_type,
        offer_price,
        allocated_units,
        per_user_limit,
        starts_at,
        ends_at,
        row_number() over (
            partition by campaign_id, sku_id, region_id order by event_at desc, event_id desc
        ) as version_rank
    from {{ source('raw', 'campaigns') }}
)

select
    announced_at,
    campaign_id,
    sku_id,
    region_id,
    promo_type,
    offer_price,
    allocated_units,
    per_user_limit,
    starts_at,
    ends_at
from versions
where version_rank = 1
