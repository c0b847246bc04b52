{# The version of a slowly changing record that held at a moment; where none held yet, the first one.
   `moment` and `valid_from` are columns, `key` the columns that identify the row that asks. #}
{% macro version_rank(key, moment, valid_from) -%}
    row_number() over (
        partition by {{ key | join(", ") }}
        order by
            case when {{ valid_from }} <= {{ moment }} then 0 else 1 end,
            case when {{ valid_from }} <= {{ moment }} then {{ valid_from }} end desc,
            {{ valid_from }}
    )
{%- endmacro %}
