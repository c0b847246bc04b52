{# Days the load step brought in since the last build that succeeded (`flashsale/warehouse_build.py` keeps them). Read from
   the table rather than given as a variable: dbt parses the whole project anew whenever a variable has another value. #}
{% macro changed_days() -%}
    (select cast(day as date) from raw._building)
{%- endmacro %}

{# Pre-hook of an incremental model: takes out what its query is about to bring in again, within its transaction. #}
{% macro take_out(where) -%}
    {%- if is_incremental() -%}delete from {{ this }} where {{ where }}{%- endif -%}
{%- endmacro %}

{# Condition on order lines: the order has an event on a changed day, or had one when the lines were last built. #}
{% macro orders_of_changed_days() -%}
    order_id in (select order_id from {{ ref('stg_raw__order_events') }} where event_date in {{ changed_days() }})
    or order_id in (
        select order_id from {{ this }}
        where order_date in {{ changed_days() }} or {{ utc_day('status_at') }} in {{ changed_days() }}
    )
{%- endmacro %}
