{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ take_out('action_date in ' ~ changed_days()) }}"
) }}

select
    action_date,
    sku_id,
    region_id,
    count(*) filter (where action = 'impression') as impressions,
    count(*) filter (where action = 'view') as views,
    count(*) filter (where action = 'favourite') as favourites,
    count(*) filter (where action = 'cart') as carts,
    count(*) filter (where action = 'notify_me') as notify_me,
    count(*) filter (where action = 'sold_out_view') as sold_out_views
from {{ ref('stg_raw__actions') }}
{% if is_incremental() %}
where action_date in {{ changed_days() }}
{% endif %}
group by action_date, sku_id, region_id
