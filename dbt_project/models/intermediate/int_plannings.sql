-- Every decision about an offer, past or asked for, with the moment its knowledge ends.
with newest as (
    select max(event_at) as newest_event_at from {{ ref('stg_raw__order_events') }}
),

past as (
    select
        'campaign' as row_kind,
        campaign_id,
        sku_id,
        region_id,
        starts_at,
        ends_at,
        starts_at - interval '{{ var("planning_lead_hours") }} hours' as cutoff_at,
        promo_type,
        offer_price,
        allocated_units
    from {{ ref('stg_raw__offers') }}
),

asked as (
    select
        'request' as row_kind,
        requests.request_id as campaign_id,
        requests.sku_id,
        requests.region_id,
        requests.starts_at,
        requests.starts_at + requests.duration_hours * interval '1 hour' as ends_at,
        least(
            requests.starts_at - interval '{{ var("planning_lead_hours") }} hours',
            coalesce(requests.as_of, newest.newest_event_at)
        ) as cutoff_at,
        cast(null as text) as promo_type,
        cast(null as decimal(12, 2)) as offer_price,
        cast(null as bigint) as allocated_units
    from {{ ref('stg_raw__sale_requests') }} as requests
    cross join newest
)

select * from past
union all
select * from asked
