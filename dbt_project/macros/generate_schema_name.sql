{# Schemas are called what they hold. PostgreSQL builds the marts beside the published ones and swaps them at the end. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- set name = custom_schema_name if custom_schema_name else target.schema -%}
    {%- if target.type == 'postgres' and name == 'marts' -%}marts_build{%- else -%}{{ name }}{%- endif -%}
{%- endmacro %}
