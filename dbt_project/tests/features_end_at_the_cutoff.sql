-- No planning knows anything later than the planning lead allows, nor later than the request's as_of.
select
    row_kind,
    campaign_id,
    sku_id,
    region_id
from {{ ref('feat_demand') }}
where cutoff_at > starts_at - interval '{{ var("planning_lead_hours") }} hours'
union all
select
    features.row_kind,
    features.campaign_id,
    features.sku_id,
    features.region_id
from {{ ref('feat_demand') }} as features
inner join {{ ref('stg_raw__sale_requests') }} as requests
    on
        features.row_kind = 'request'
        and features.campaign_id = requests.request_id
        and features.sku_id = requests.sku_id
        and features.region_id = requests.region_id
where features.cutoff_at > requests.as_of
