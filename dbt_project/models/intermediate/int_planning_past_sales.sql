-- Sales of the same SKU and region that had ended when the planning was made.
with past as (
    select
        plannings.row_kind,
        plannings.campaign_id,
        plannings.sku_id,
        plannings.region_id,
        plannings.starts_at,
        sales.units_sold,
        sales.offer_price,
        sales.is_sold_out,
        sales.ends_at as sale_ended_at,
        row_number() over (
            partition by plannings.row_kind, plannings.campaign_id, plannings.sku_id, plannings.region_id
            order by sales.ends_at desc, sales.campaign_id desc
        ) as recency
    from {{ ref('int_plannings') }} as plannings
    inner join {{ ref('fct_sale_performance') }} as sales
        on
            plannings.sku_id = sales.sku_id
            and plannings.region_id = sales.region_id
            and plannings.cutoff_at >= sales.ends_at
)

select
    row_kind,
    campaign_id,
    sku_id,
    region_id,
    count(*) as past_sale_count,
    avg(units_sold) as mean_sale_units,
    max(case when recency = 1 then units_sold end) as last_sale_units,
    max(case when recency = 1 then offer_price end) as last_sale_price,
    max(case when recency = 1 then cast(is_sold_out as integer) end) = 1 as last_sale_sold_out,
    max(case when recency = 1 then {{ hours_between('starts_at', 'sale_ended_at') }} / 24.0 end) as days_since_last_sale
from past
group by row_kind, campaign_id, sku_id, region_id
