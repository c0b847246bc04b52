"""One truth: Arrow, Spark, Great Expectations and dbt say the same of every stream."""

from __future__ import annotations

import pyarrow as pa
import pytest
import yaml

from flashsale.contracts import STREAMS, load_contract, parse_contract
from flashsale.contracts.derive import DBT_SOURCES, dbt_sources, expectations, spark_schema, sql_type
from flashsale.errors import InputError

#: What DESIGN says each stream has beside event_id and event_at; written out here as an independent list.
FIELDS = {
    "catalog": "sku_id title category brand list_price unit_cost currency launched_at",
    "regions": "region_id warehouse_id name capacity_units shipping_cost",
    "campaigns": "campaign_id sku_id region_id promo_type offer_price allocated_units per_user_limit starts_at ends_at",
    "orders": "order_id line_no user_id sku_id region_id quantity unit_price paid_amount promo_type campaign_id status",
    "traffic": "session_id user_id sku_id region_id action campaign_id",
    "inventory": "sku_id region_id on_hand",
    "reviews": "review_id sku_id user_id rating text language",
    "social_posts": "post_id platform author_id text language likes reposts sku_id",
    "support_messages": "conversation_id user_id role text language sku_id",
}


@pytest.mark.parametrize("stream", STREAMS)
def test_fields_are_those_of_the_design(stream: str) -> None:
    names = load_contract(stream).arrow_schema().names
    assert names == ["event_id", "event_at", *FIELDS[stream].split()]


@pytest.mark.parametrize("stream", STREAMS)
def test_arrow_spark_expectations_and_sql_agree(stream: str) -> None:
    contract = load_contract(stream)
    schema, spark = contract.arrow_schema(), spark_schema(contract)
    assert [f["name"] for f in spark["fields"]] == schema.names
    assert [f["nullable"] for f in spark["fields"]] == [f.nullable for f in schema]
    spark_of = {pa.string(): "string", pa.int32(): "integer", pa.int64(): "long"}
    for item, field in zip(spark["fields"], schema, strict=True):
        if pa.types.is_decimal(field.type):
            assert item["type"] == f"decimal({field.type.precision},{field.type.scale})"
        elif pa.types.is_timestamp(field.type):
            assert (item["type"], field.type.tz, field.type.unit) == ("timestamp", "UTC", "us")
        else:
            assert item["type"] == spark_of[field.type]
    found = expectations(contract)
    not_null = {e["kwargs"]["column"] for e in found if e["type"] == "expect_column_values_to_not_be_null"}
    assert not_null == {f.name for f in schema if not f.nullable}
    assert found[0]["kwargs"]["column_set"] == schema.names


def test_committed_dbt_sources_are_the_derived_ones() -> None:
    assert DBT_SOURCES.read_text(encoding="utf-8") == dbt_sources()
    tables = {t["name"]: t for t in yaml.safe_load(dbt_sources())["sources"][0]["tables"]}
    assert set(tables) == set(STREAMS)
    for stream in STREAMS:
        columns = {c["name"]: c["data_type"] for c in tables[stream]["columns"]}
        assert columns == {f.name: sql_type(f) for f in load_contract(stream).fields}


def test_people_are_marked_wherever_they_stand() -> None:
    people = {s: set(load_contract(s).person_fields) for s in STREAMS if load_contract(s).person_fields}
    assert people == {
        "orders": {"user_id"},
        "traffic": {"session_id", "user_id"},
        "reviews": {"user_id"},
        "social_posts": {"author_id"},
        "support_messages": {"conversation_id", "user_id"},
    }


def test_an_unknown_stream_and_an_unknown_type_are_named() -> None:
    with pytest.raises(InputError, match=r"stream 'clicks'.*orders"):
        load_contract("clicks")
    raw = {
        "stream": "x",
        "version": 1,
        "grain": "g",
        "mode": "events",
        "entity": ["a"],
        "fields": [{"name": "a", "type": "money", "description": "d"}],
    }
    with pytest.raises(InputError, match="field 'a'.*unknown type 'money'"):
        parse_contract(raw)


@pytest.mark.spark
def test_spark_reads_the_derived_schema() -> None:
    from pyspark.sql.types import StructType

    for stream in STREAMS:
        contract = load_contract(stream)
        assert StructType.fromJson(spark_schema(contract)).names == contract.arrow_schema().names
