-- Hours add up to the sale.
select
    sales.campaign_id,
    sales.sku_id,
    sales.region_id
from {{ ref('fct_sale_performance') }} as sales
inner join (
    select
        campaign_id,
        sku_id,
        region_id,
        sum(units) as units
    from {{ ref('fct_sale_hours') }}
    group by campaign_id, sku_id, region_id
) as hours
    on
        sales.campaign_id = hours.campaign_id
        and sales.sku_id = hours.sku_id
        and sales.region_id = hours.region_id
where sales.units_sold <> hours.units
