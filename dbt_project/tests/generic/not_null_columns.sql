{# One scan for all columns that must hold a value; one row per column that does not, so that a failure names it. #}
{% test not_null_columns(model, columns) %}
    with counted as (
        select
            {% for column in columns -%}
            count(*) - count({{ column }}) as {{ column }}{{ "," if not loop.last }}
            {% endfor %}
        from {{ model }}
    )

    {% for column in columns -%}
    select '{{ column }}' as column_name, {{ column }} as null_rows from counted where {{ column }} > 0
    {{ "union all" if not loop.last }}
    {% endfor %}
{% endtest %}
