{# The one place that says what was known when a sale was planned: whole days that ended by the cutoff. #}
{% macro known_before(day, cutoff) -%}
    ({{ day }} + interval '1 day') <= {{ cutoff }}
{%- endmacro %}

{# Day `day` is among the `days` whole days before the cutoff. #}
{% macro within_days_before(day, cutoff, days) -%}
    {{ known_before(day, cutoff) }} and ({{ day }} + interval '1 day') > {{ cutoff }} - interval '{{ days }} days'
{%- endmacro %}

{% macro hours_between(later, earlier) -%}
    (extract(epoch from ({{ later }} - {{ earlier }})) / 3600.0)
{%- endmacro %}

{# UTC day of a moment, whatever the session's zone. #}
{% macro utc_day(moment) -%}
    cast(({{ moment }} at time zone 'UTC') as date)
{%- endmacro %}

{# First moment (UTC) of a day. #}
{% macro day_start(day) -%}
    (cast({{ day }} as timestamp) at time zone 'UTC')
{%- endmacro %}

{# Rows 0 … n-1 in column `n`. #}
{% macro numbers(n) -%}
    {%- if target.type == 'postgres' -%}
    (select cast(generate_series(0, {{ n }} - 1) as integer) as n)
    {%- else -%}
    (select cast(unnest(range({{ n }})) as integer) as n)
    {%- endif -%}
{%- endmacro %}
