"""What the other tools need of a contract: Spark schema, Great Expectations, dbt sources. One truth, no copies.

`python -m flashsale.contracts.derive` writes dbt's source file; a test holds the committed file to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from flashsale.contracts import STREAMS, Contract, FieldRule, decimal_of, load_contract

_SPARK = {"string": "string", "int32": "integer", "int64": "long", "timestamp": "timestamp"}
_DUCKDB = {"string": "text", "int32": "integer", "int64": "bigint", "timestamp": "timestamptz"}
DBT_SOURCES = Path(__file__).parents[2] / "dbt_project" / "models" / "staging" / "_sources.yml"


def spark_schema(contract: Contract) -> dict[str, Any]:
    """The stream's schema as Spark's JSON form, for `StructType.fromJson`."""
    return {
        "type": "struct",
        "fields": [
            {"name": f.name, "type": _SPARK.get(f.type, f.type), "nullable": f.nullable, "metadata": {}}
            for f in contract.fields
        ],
    }


def sql_type(rule: FieldRule) -> str:
    """The field's type in DuckDB and PostgreSQL."""
    if rule.type.startswith("decimal("):
        return "decimal({},{})".format(*decimal_of(rule.type))
    return _DUCKDB[rule.type]


def expectations(contract: Contract) -> list[dict[str, Any]]:
    """Great Expectations of the stream as `{type, kwargs}`: the table's columns, then every field's rules."""
    found: list[dict[str, Any]] = [
        {
            "type": "expect_table_columns_to_match_set",
            "kwargs": {"column_set": [f.name for f in contract.fields], "exact_match": True},
        },
    ]
    for rule in contract.fields:
        found.extend(_field_expectations(rule))
    return found


def _field_expectations(rule: FieldRule) -> list[dict[str, Any]]:
    column = {"column": rule.name}
    found: list[dict[str, Any]] = []
    if not rule.nullable:
        found.append({"type": "expect_column_values_to_not_be_null", "kwargs": column})
    if rule.unique:
        found.append({"type": "expect_column_values_to_be_unique", "kwargs": column})
    if rule.allowed:
        found.append(
            {"type": "expect_column_values_to_be_in_set", "kwargs": {**column, "value_set": list(rule.allowed)}}
        )
    if rule.min is not None or rule.max is not None:
        bounds = {"min_value": rule.min, "max_value": rule.max}
        found.append({"type": "expect_column_values_to_be_between", "kwargs": {**column, **bounds}})
    if rule.pattern:
        found.append({"type": "expect_column_values_to_match_regex", "kwargs": {**column, "regex": rule.pattern}})
    return found


def _dbt_column(rule: FieldRule) -> dict[str, Any]:
    tests: list[Any] = []
    if rule.unique:
        tests.append("unique")
    if rule.allowed:
        tests.append({"accepted_values": {"arguments": {"values": list(rule.allowed)}}})
    column: dict[str, Any] = {"name": rule.name, "description": rule.description, "data_type": sql_type(rule)}
    return {**column, "data_tests": tests} if tests else column


def _dbt_table(contract: Contract) -> dict[str, Any]:
    needed = [f.name for f in contract.fields if not f.nullable]  # one test a table: dbt pays for each by itself
    table: dict[str, Any] = {
        "name": contract.stream,
        "description": f"{contract.grain[0].upper()}{contract.grain[1:]} (contract version {contract.version}).",
        "columns": [_dbt_column(f) for f in contract.fields],
        "data_tests": [{"not_null_columns": {"arguments": {"columns": needed}}}],
    }
    if contract.freshness_hours:
        hours = contract.freshness_hours
        table["config"] = {
            "loaded_at_field": "event_at",
            "freshness": {
                "warn_after": {"count": hours, "period": "hour"},
                "error_after": {"count": 7 * hours, "period": "hour"},
            },
        }
    return table


def dbt_sources() -> str:
    """dbt's source file for the raw streams, with the tests and freshness the contracts ask for."""
    body = {
        "version": 2,
        "sources": [
            {
                "name": "raw",
                "schema": "raw",
                "description": "Committed partitions of the lake, loaded before every build.",
                "tables": [_dbt_table(load_contract(s)) for s in STREAMS],
            }
        ],
    }
    head = "# Derived from flashsale/contracts by `python -m flashsale.contracts.derive`; edit the contract instead.\n"
    return head + yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=120)


if __name__ == "__main__":
    DBT_SOURCES.parent.mkdir(parents=True, exist_ok=True)
    DBT_SOURCES.write_text(dbt_sources(), encoding="utf-8")
