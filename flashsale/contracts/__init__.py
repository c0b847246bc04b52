"""Contracts of the raw streams: one YAML file a stream, everything else is derived from it.

`load_contract("orders").arrow_schema()` gives the Arrow schema; Spark, Great Expectations and dbt are derived by
`flashsale.contracts.derive`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from flashsale.errors import InputError

FOLDER = Path(__file__).parent

#: Streams in the order in which a person would load them: what is sold, where, when, then what happened.
STREAMS: tuple[str, ...] = (
    "catalog",
    "regions",
    "campaigns",
    "orders",
    "traffic",
    "inventory",
    "reviews",
    "social_posts",
    "support_messages",
)

_ARROW: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


def decimal_of(type_name: str) -> tuple[int, int]:
    """Precision and scale of a `decimal(p,s)` type name."""
    precision, scale = type_name.removeprefix("decimal(").removesuffix(")").split(",")
    return int(precision), int(scale)


@dataclass(frozen=True)
class FieldRule:
    """One field of a stream and what its values must be."""

    name: str
    type: str
    description: str
    nullable: bool = False
    unique: bool = False
    person: bool = False
    min: float | None = None
    max: float | None = None
    allowed: tuple[str, ...] | None = None
    pattern: str | None = None

    def arrow_type(self) -> pa.DataType:
        """The field's Arrow type."""
        if self.type.startswith("decimal("):
            return pa.decimal128(*decimal_of(self.type))
        return _ARROW[self.type]


@dataclass(frozen=True)
class RowRule:
    """A condition between the fields of one row, as a SQL expression that must be true."""

    name: str
    sql: str
    remedy: str


@dataclass(frozen=True)
class Contract:
    """One stream: its grain, its fields and its rules."""

    stream: str
    version: int
    grain: str
    mode: str
    entity: tuple[str, ...]
    fields: tuple[FieldRule, ...]
    freshness_hours: int | None = None
    text: bool = False
    row_rules: tuple[RowRule, ...] = ()

    def arrow_schema(self) -> pa.Schema:
        """Arrow schema of the stream, fields in the contract's order."""
        return pa.schema([pa.field(f.name, f.arrow_type(), nullable=f.nullable) for f in self.fields])

    def field(self, name: str) -> FieldRule:
        """The field called `name`; KeyError where there is none."""
        return next(f for f in self.fields if f.name == name)

    @property
    def person_fields(self) -> tuple[str, ...]:
        """Fields that identify people and are made pseudonyms at ingestion."""
        return tuple(f.name for f in self.fields if f.person)


def parse_contract(raw: dict[str, Any]) -> Contract:
    """A contract from its YAML content; unknown types and keys are refused."""
    fields = []
    for item in raw["fields"]:
        allowed = item.get("allowed")
        rule = FieldRule(**{**item, "allowed": tuple(allowed) if allowed else None})
        if rule.type not in _ARROW and not rule.type.startswith("decimal("):
            raise InputError(
                f"contract {raw['stream']}",
                f"unknown type {rule.type!r}",
                f"use one of {sorted(_ARROW)} or decimal(p,s)",
                field=rule.name,
            )
        fields.append(rule)
    rules = tuple(RowRule(**item) for item in raw.get("row_rules", ()))
    rest = {k: v for k, v in raw.items() if k not in {"fields", "entity", "row_rules"}}
    return Contract(**rest, entity=tuple(raw["entity"]), fields=tuple(fields), row_rules=rules)


@cache
def load_contract(stream: str) -> Contract:
    """The contract of `stream`; an unknown name is an InputError that lists the known ones."""
    if stream not in STREAMS:
        raise InputError(f"stream {stream!r}", "there is no such stream", f"use one of {', '.join(STREAMS)}")
    with (FOLDER / f"{stream}.yaml").open(encoding="utf-8") as handle:
        return parse_contract(yaml.safe_load(handle))


__all__ = ["STREAMS", "Contract", "FieldRule", "RowRule", "decimal_of", "load_contract", "parse_contract"]
